"""A directory for one process at a time."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from reelspace.core.errors import OutputOccupied

LOOK_S: Final = 0.02


@contextmanager
def locked_directory(directory: Path, patience_s: float = 0.0, gives_up: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Hold `<directory>/.lock` while the block runs; the kernel lets go when the process ends, however it ends.

    Args:
        patience_s: seconds to wait for another process that may be about to end.
        gives_up: tells whether to wait no more.

    Raises:
        OutputOccupied: another process holds it; the message gives its pid.
    """
    deadline_s = time.monotonic() + patience_s
    with _held(directory, lambda: time.monotonic() >= deadline_s or gives_up()) as file:
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


@contextmanager
def _held(directory: Path, gives_up: Callable[[], bool]) -> Iterator[TextIO]:
    path = directory / ".lock"
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        with path.open("a+") as file:
            _lock(file, directory, gives_up)
            if _is_at(file, path):
                yield file
                return
            # The holder before removed the directory while this file was being opened: this lock guards nothing.


def _lock(file: TextIO, directory: Path, gives_up: Callable[[], bool]) -> None:
    while not _is_taken(file):
        if gives_up():
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise OutputOccupied(
                f"another reelspace process works in {directory} (pid {holder}): wait for it, stop it, or choose another directory"
            )
        time.sleep(LOOK_S)


def _is_taken(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
