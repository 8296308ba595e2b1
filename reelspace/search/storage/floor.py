"""The floor of a log: numbers up to it are dropped, and whatever lies there is never read again. It only rises."""

import hashlib
from typing import Annotated

from pydantic import Field

from reelspace.core.errors import ArtifactMissing, CorruptArtifact, PreconditionFailed
from reelspace.core.settings import Settings
from reelspace.core.store import Store
from reelspace.search.storage.absence import check_absent
from reelspace.search.storage.layout import json_bytes, parse


class FloorFile(Settings):
    """What floor.json says; the hash of key and number keeps one flipped digit from hiding rows."""

    floor: int = Field(ge=0)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def read_floor(store: Store, key: str, *, surely: bool = False) -> int:
    """Give the floor, 0 if none was set.

    Args:
        surely: ask again for a file that is not found.

    Raises:
        CorruptArtifact: the file is damaged.
        StoreUnavailable: surely, and the store does not give what it says is there.
    """
    try:
        return _parsed(key, store.get(key))
    except ArtifactMissing:
        if surely:
            check_absent(store, key)
        return 0


def raise_floor(store: Store, key: str, floor: int) -> int:
    """Raise the floor to at least this number and give what it is then; another's higher one stays."""
    while True:
        try:
            data, etag = store.get_with_etag(key)
        except ArtifactMissing:
            data, etag = None, None
        found = 0 if data is None else _parsed(key, data)
        if found >= floor:
            return found
        try:
            if etag is None:
                store.put_if_absent(key, _bytes(key, floor))
            else:
                store.put_if_match(key, _bytes(key, floor), etag)
        except PreconditionFailed:
            continue
        return floor


def _bytes(key: str, floor: int) -> bytes:
    return json_bytes(FloorFile(floor=floor, sha256=_hash(key, floor)))


def _parsed(key: str, data: bytes) -> int:
    file = parse(FloorFile, data, key)
    if file.sha256 != _hash(key, file.floor):
        raise CorruptArtifact(f"{key} is corrupt: its SHA-256 differs; restore the collection from a snapshot")
    return file.floor


def _hash(key: str, floor: int) -> str:
    return hashlib.sha256(f"{key}\0{floor}".encode()).hexdigest()
