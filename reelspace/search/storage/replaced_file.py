"""Small JSON files of the store that any number of processes may change at a time: replaced by put_if_match only."""

from collections.abc import Callable
from typing import TypeVar

from reelspace.core.errors import ArtifactMissing, PreconditionFailed
from reelspace.core.settings import Settings
from reelspace.core.store import Store
from reelspace.search.storage.layout import json_bytes, parse

S = TypeVar("S", bound=Settings)


def read_or_default(store: Store, model: type[S], key: str) -> S:
    """Read a file; what the model is by default if there is none.

    Raises:
        CorruptArtifact: it is not what this version writes.
    """
    try:
        return parse(model, store.get(key), f"{key} in {store.url}")
    except ArtifactMissing:
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
            found = parse(model, data, f"{key} in {store.url}")
        changed = change(found)
        if changed == found:
            return found
        try:
            if etag:
                store.put_if_match(key, json_bytes(changed), etag)
            else:
                store.put_if_absent(key, json_bytes(changed))
        except PreconditionFailed:
            continue
        return changed
