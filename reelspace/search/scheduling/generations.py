"""Brings an index artifact into its collection as a generation: files first, each manifest last, then never touched again."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from reelspace.core.artifacts import Artifact
from reelspace.core.errors import PreconditionFailed, UserError
from reelspace.core.store import Store
from reelspace.search.scheduling.claims import claim
from reelspace.search.storage.layout import (
    Collection,
    CurrentGenerations,
    ServedGeneration,
    ShardManifest,
    ShardState,
    collection_key,
    generation_key,
    json_bytes,
    parse,
    read_file,
    sha256,
)


@dataclass(frozen=True, slots=True)
class PublishedGeneration:
    """A generation whose files are all in the store."""

    collection: Collection
    number: int
    shards: tuple[ServedGeneration, ...]


def publish_generation(store: Store, index: Artifact, scratch: Path) -> PublishedGeneration:
    """Copy an index artifact, every byte checked, to collections/<c>/shards/<s>/generations/<g>/.

    The same artifact always gets the same number; nothing points at the generation yet.

    Raises:
        UserError: the collection exists and is of another make.
    """
    directory = index.fetch(scratch)
    collection = parse(Collection, (directory / "collection.json").read_bytes(), f"collection.json of index {index.id}")
    _create(store, collection)
    name = collection.full_name
    number = claim(store, collection_key(name, "claims"), index.id)
    shards = tuple(_publish_shard(store, name, number, shard, directory / "shards" / str(shard)) for shard in range(collection.num_shards))
    return PublishedGeneration(collection, number, shards)


def point_collection(store: Store, published: PublishedGeneration) -> None:
    """Make the generation the collection's current one.

    Raises:
        PreconditionFailed: another process flipped the pointer meanwhile.
    """
    key = collection_key(published.collection.full_name, "current.json")
    states = {str(shard.shard): ShardState(generation=published.number, contains_log=0) for shard in published.shards}
    if not store.exists(key):
        store.put_if_absent(key, json_bytes(_current(1, states)))
        return
    data, etag = store.get_with_etag(key)
    current = parse(CurrentGenerations, data, f"{key} in {store.url}")
    if current.shards != states:
        store.put_if_match(key, json_bytes(_current(current.version + 1, states)), etag)


def _current(version: int, shards: Mapping[str, ShardState]) -> CurrentGenerations:
    return CurrentGenerations(version=version, shards=dict(shards), updated_at=datetime.now(UTC).isoformat(timespec="seconds"))


def _create(store: Store, collection: Collection) -> None:
    key = collection_key(collection.full_name)
    try:
        store.put_if_absent(key, json_bytes(collection))
    except PreconditionFailed as error:
        found = read_file(store, Collection, key)
        if found == collection:
            return
        differ = [
            f"{field} is {getattr(found, field)!r} there, {getattr(collection, field)!r} in the index"
            for field in Collection.model_fields
            if getattr(found, field) != getattr(collection, field)
        ]
        raise UserError(
            f"collection {collection.full_name} exists in {store.url} and is of another make: {'; '.join(differ)}; "
            "build the index under another name (build_index.collection)"
        ) from error


def _publish_shard(store: Store, collection: str, number: int, shard: int, directory: Path) -> ServedGeneration:
    data = (directory / "manifest.json").read_bytes()
    manifest = parse(ShardManifest, data, f"manifest.json of shard {shard}")
    key = generation_key(collection, shard, number, "manifest.json")
    if not store.exists(key):
        for name in sorted(manifest.files):
            store.put_file(generation_key(collection, shard, number, name), directory / name)
        store.put(key, data)
    return ServedGeneration(collection=collection, shard=shard, generation=number, manifest_sha256=sha256(data))
