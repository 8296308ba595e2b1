"""A directory for one process at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from reelspace.core.errors import OutputOccupied


@contextmanager
def locked_directory(directory: Path) -> Iterator[None]:
    """Hold `<directory>/.lock` while the block runs; the kernel lets go when the process ends, however it ends.

    Raises:
        OutputOccupied: another process holds it; the message gives its pid.
    """
    with _held(directory) as file:
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


@contextmanager
def _held(directory: Path) -> Iterator[TextIO]:
    path = directory / ".lock"
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        with path.open("a+") as file:
            _lock(file, directory)
            if _is_at(file, path):
                yield file
                return
            # The holder before removed the directory while this file was being opened: this lock guards nothing.


def _lock(file: TextIO, directory: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        raise OutputOccupied(
            f"another reelspace process works in {directory} (pid {holder}): wait for it, stop it, or choose another directory"
        ) from error


def _is_at(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
