"""Files that are there whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from reelspace.core.errors import OutputOccupied


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name, synced, when the block ends without an error; else nothing is left.

    Raises:
        OutputOccupied: something has that name already.
    """
    _check_free(path)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _check_free(path)
        partial.replace(path)
        _sync_directory(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _check_free(path: Path) -> None:
    if path.exists():
        raise OutputOccupied(f"{path} exists: remove it, or write under another name")


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
