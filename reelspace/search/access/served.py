"""What a gateway serves: read once from the store's pointers."""

from collections.abc import Mapping
from dataclasses import dataclass

from reelspace.core.errors import ArtifactMissing
from reelspace.core.store import Store
from reelspace.search.storage.layout import (
    SPACE_POINTER,
    Collection,
    CurrentGenerations,
    ShardManifest,
    SpacePointer,
    collection_key,
    generation_key,
    read_file,
)


@dataclass(frozen=True, slots=True)
class Served:
    """The promoted collection: generation and rows per shard, and the encoders of its space, version by model."""

    collection: Collection
    alias: str
    generations: tuple[int, ...]
    rows: tuple[int, ...]
    encoders: Mapping[str, int]

    def answers_to(self, name: str) -> bool:
        """Tell whether a client's name means this collection."""
        return name in (self.alias, self.collection.full_name)


def read_served(store: Store) -> Served:
    """Follow spaces/current.json.

    Raises:
        ArtifactMissing: nothing was promoted into this store.
    """
    if not store.exists(SPACE_POINTER):
        raise ArtifactMissing(f"expected something promoted in {store.url}, it has no {SPACE_POINTER}; run the pipeline first")
    pointer = read_file(store, SpacePointer, SPACE_POINTER)
    name = pointer.collection
    collection = read_file(store, Collection, collection_key(name))
    current = read_file(store, CurrentGenerations, collection_key(name, "current.json"))
    generations = tuple(current.shards[str(shard)].generation for shard in range(collection.num_shards))
    manifests = (
        read_file(store, ShardManifest, generation_key(name, shard, generation, "manifest.json"))
        for shard, generation in enumerate(generations)
    )
    return Served(collection, pointer.alias, generations, tuple(manifest.num_rows for manifest in manifests), pointer.encoders)
