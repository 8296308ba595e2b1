"""Room on the disk of a store in a directory: rows are refused before it is full, so that deletions and new generations still fit."""

import os
import threading
import time
from collections.abc import Callable
from typing import Final

from reelspace.core.errors import DiskFull
from reelspace.core.local_store import LocalStore
from reelspace.core.store import Store

LEAST_SHARE: Final = 0.15
LEAST_BYTES: Final = 1 << 30
"""A disk with so much free has room, however large it is."""
LOOK_S: Final = 1.0


class DiskRoom:
    """Tells whether a store takes more rows; may be used from several threads."""

    def __init__(self, store: Store, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        """Look at nothing yet; a store that is no directory always has room."""
        self._root = store.root if isinstance(store, LocalStore) else None
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._next_look_s = -float("inf")
        self._refusal: str | None = None

    def check(self) -> None:
        """Raise DiskFull where less than 15 % and less than 1 GiB are free; looks once a second."""
        if self._root is None:
            return
        with self._lock:
            now_s = self._monotonic_s()
            if now_s >= self._next_look_s:
                self._next_look_s = now_s + LOOK_S
                self._refusal = _refusal(self._root)
            refusal = self._refusal
        if refusal is not None:
            raise DiskFull(refusal)


def _refusal(root: os.PathLike[str]) -> str | None:
    try:
        disk = os.statvfs(root)
    except OSError:
        return None  # the write, which comes next, says better what is wrong with the directory
    free_bytes, size_bytes = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    if free_bytes >= LEAST_BYTES or free_bytes >= LEAST_SHARE * size_bytes:
        return None
    free = f"{free_bytes:,} of {size_bytes:,} bytes are free"
    return f"the disk of {root} is nearly full: {free}, more rows need {LEAST_SHARE:.0%} or 1 GiB; delete rows or free space"
