"""A directory that several processes use at a time, each through the log, beside none that keeps it for itself."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from reelspace.core.errors import OutputOccupied
from reelspace.core.local_store import LocalStore
from reelspace.core.store import Store
from reelspace.search.embedded import LOCK


@contextmanager
def shared_directory(store: Store) -> Iterator[None]:
    """Hold a store's directory against `reelspace.search.open` while the block runs; a store that is no directory needs no hold.

    Raises:
        OutputOccupied: another process has it open for itself.
    """
    if not isinstance(store, LocalStore):
        yield
        return
    file = os.open(store.root / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputOccupied(f"{store.root} is open in another process (reelspace.search.open): close it there") from error
        yield
    finally:
        os.close(file)
