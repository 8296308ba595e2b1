"""Filming in child processes while the tables are written."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryDirectory

from reelspace.core.errors import DiskFull, InternalError
from reelspace.core.processes import child, stop
from reelspace.core.progress import Progress, progress
from reelspace.demo.presets import WorldSettings

_POLL_S = 0.3


@dataclass(frozen=True, slots=True)
class _Share:
    process: Popen[bytes]
    errors: Path


@contextmanager
def filming(settings: WorldSettings, media: Path) -> Iterator[None]:
    """Make all media files in `media` beside the block; leaving the block waits for them.

    Raises:
        DiskFull: a process found no space.
        InternalError: a process failed otherwise; the message ends with its last line.
    """
    media.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="reelspace-studio-") as scratch, ExitStack() as stack:
        shares = [_start(settings, media, Path(scratch), share) for share in range(settings.num_processes)]
        for share in shares:
            stack.callback(stop, share.process)
        yield
        with progress(settings.num_works, "media") as shown:
            _wait(shares, media, shown)


def _start(settings: WorldSettings, media: Path, scratch: Path, share: int) -> _Share:
    settings_file, errors = scratch / "settings.json", scratch / f"errors-{share}.txt"
    settings_file.write_text(settings.model_dump_json())
    command = [sys.executable, "-m", "reelspace.demo.studio", str(settings_file), str(media), str(share), str(settings.num_processes)]
    with errors.open("wb") as stderr:
        return _Share(child(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=stderr), errors)


def _wait(shares: list[_Share], media: Path, shown: Progress) -> None:
    num_seen = 0
    while True:
        codes = [share.process.poll() for share in shares]
        num_files = len(os.listdir(media))
        shown.advance(num_files - num_seen)
        num_seen = num_files
        for share, code in zip(shares, codes, strict=True):
            if code:
                raise _failure(share, code)
        if all(code == 0 for code in codes):
            return
        time.sleep(_POLL_S)


def _failure(share: _Share, code: int) -> DiskFull | InternalError:
    lines = share.errors.read_text(errors="replace").strip().splitlines()
    message = f"drawing media ended with code {code}: {lines[-1] if lines else 'no message'}"
    return DiskFull(message) if code == DiskFull.exit_code else InternalError(message)
