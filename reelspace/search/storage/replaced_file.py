"""Small JSON files of the store that any number of processes may change at a time: replaced by put_if_match only.

Beside what the model says, a file has the SHA-256 of its key and its content: a flipped letter of a name would hide a collection.
"""

import hashlib
from collections.abc import Callable
from typing import Final, TypeVar

import orjson

from reelspace.core.artifacts import canonical_json
from reelspace.core.errors import ArtifactMissing, CorruptArtifact, PreconditionFailed
from reelspace.core.settings import Settings
from reelspace.core.store import Store
from reelspace.search.storage.absence import check_absent
from reelspace.search.storage.layout import json_bytes, parse

S = TypeVar("S", bound=Settings)
_HASH: Final = "sha256"


def read_or_default(store: Store, model: type[S], key: str, *, surely: bool = False) -> S:
    """Read a file; what the model is by default if there is none.

    Args:
        surely: ask again for a file that is not found.

    Raises:
        StoreUnavailable: surely, and the store does not give what it says is there.
        CorruptArtifact: it is damaged, or not what this version writes.
    """
    try:
        return _parsed(store, model, key, store.get(key))
    except ArtifactMissing:
        if surely:
            check_absent(store, key)
        return model()


def replace_file(store: Store, model: type[S], key: str, change: Callable[[S], S]) -> S:
    """Replace a file by what a function makes of it, and give that.

    Args:
        change: called again when another writer was first; what it raises ends the change. Where an answer of the store was lost it
            sees its own work, so doing it twice must be as doing it once.
    """
    while True:
        try:
            data, etag = store.get_with_etag(key)
        except ArtifactMissing:
            found, etag = model(), ""
        else:
            found = _parsed(store, model, key, data)
        changed = change(found)
        if changed == found:
            return found
        try:
            if etag:
                store.put_if_match(key, _bytes(key, changed), etag)
            else:
                store.put_if_absent(key, _bytes(key, changed))
        except PreconditionFailed:
            continue
        return changed


def _bytes(key: str, value: Settings) -> bytes:
    return canonical_json(value.model_dump(mode="json") | {_HASH: _digest(key, value)})


def _parsed(store: Store, model: type[S], key: str, data: bytes) -> S:
    where = f"{key} in {store.url}"
    try:
        values = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise CorruptArtifact(f"{where} is not readable: {error}") from error
    if not isinstance(values, dict):
        raise CorruptArtifact(f"{where} is not readable: expected a JSON object")
    digest = values.pop(_HASH, None)
    found = parse(model, canonical_json(values), where)
    if digest != _digest(key, found):
        raise CorruptArtifact(f"{where} is corrupt: its SHA-256 differs")
    return found


def _digest(key: str, value: Settings) -> str:
    return hashlib.sha256(key.encode() + b"\0" + json_bytes(value)).hexdigest()
