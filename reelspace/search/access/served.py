"""What was promoted: read from the store's pointers."""

from collections.abc import Mapping
from dataclasses import dataclass

from reelspace.core.errors import ArtifactMissing
from reelspace.core.store import Store
from reelspace.search.storage.layout import SPACE_POINTER, Collection, SpacePointer, read_collection, read_file


@dataclass(frozen=True, slots=True)
class Served:
    """The promoted collection, and the encoders of its space, version by model."""

    collection: Collection
    encoders: Mapping[str, int]


def read_served(store: Store) -> Served:
    """Follow spaces/current.json.

    Raises:
        ArtifactMissing: nothing was promoted into this store.
    """
    if not store.exists(SPACE_POINTER):
        raise ArtifactMissing(f"expected something promoted in {store.url}, it has no {SPACE_POINTER}; run the pipeline first")
    pointer = read_file(store, SpacePointer, SPACE_POINTER)
    return Served(read_collection(store, pointer.collection), pointer.encoders)
