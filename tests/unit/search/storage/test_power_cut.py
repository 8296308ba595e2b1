"""Power cuts: the backing file of a mounted ext4 is copied while a writer is stopped in mid-air; the copy is what a disk would hold.

Unsynced files and unsynced names are not in the copy, synced ones are. Needs root, for mounting.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reelspace.core.errors import CorruptArtifact

from .doomed import Doom, acknowledged_by, check, start

SIZE_BYTES = 48 << 20
NUM_CUTS = 20
NUM_CONTROL_CUTS = 3


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """An ext4 in a file."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("needs root and mkfs.ext4")
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(SIZE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, _folder(tmp_path / "trial")], check=False).returncode:
        pytest.skip("no loop device may be mounted here")
    subprocess.run(["umount", tmp_path / "trial"], check=True)
    return image


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    # The journal is written when somebody syncs, not by the clock.
    subprocess.run(["mount", "-o", "loop,commit=600", image, _folder(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def _folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


def cut(disk: Path, folder: Path, after_s: float) -> tuple[Path, dict[str, int]]:
    """Write to a fresh disk, stop at a moment, copy what the disk has; gives the copy and what was acknowledged by then."""
    folder.mkdir()
    image, copy = Path(shutil.copyfile(disk, folder / "image")), folder / "copy"
    with mounted(image, folder / "mounted") as place:
        pid, reading = start(place / "store", "k", Doom("none", 0))
        time.sleep(after_s)
        os.kill(pid, signal.SIGSTOP)
        shutil.copyfile(image, copy)
        os.kill(pid, signal.SIGKILL)
        acknowledged = dict(acknowledged_by(pid, reading))
    image.unlink()
    return copy, acknowledged


@pytest.mark.long
def test_what_was_acknowledged_before_a_power_cut_is_on_the_disk(disk: Path, tmp_path: Path) -> None:
    num_acknowledged = 0
    for number in range(NUM_CUTS):
        copy, acknowledged = cut(disk, tmp_path / str(number), random.uniform(0.05, 0.6))
        with mounted(copy, tmp_path / "after") as place:
            check(place / "store", acknowledged)
        copy.unlink()
        num_acknowledged += len(acknowledged)
    assert num_acknowledged > 10 * NUM_CUTS


@pytest.mark.long
def test_without_syncing_the_same_cuts_lose_what_was_acknowledged(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    num_lost = 0
    for number in range(NUM_CONTROL_CUTS):
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", lambda _descriptor: None)
            copy, acknowledged = cut(disk, tmp_path / str(number), 0.5)
        assert acknowledged
        with mounted(copy, tmp_path / "after") as place:
            try:
                check(place / "store", acknowledged)
            except (AssertionError, CorruptArtifact):
                num_lost += 1
    assert num_lost == NUM_CONTROL_CUTS
