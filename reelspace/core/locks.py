"""A directory for one process at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reelspace.core.errors import OutputOccupied


@contextmanager
def locked_directory(directory: Path) -> Iterator[None]:
    """Hold `<directory>/.lock` while the block runs; the kernel lets go when the process ends, however it ends.

    Raises:
        OutputOccupied: another process holds it; the message gives its pid.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise OutputOccupied(
                f"another reelspace process works in {directory} (pid {holder}): wait for it, stop it, or choose another directory"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
