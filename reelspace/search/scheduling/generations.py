"""Brings an index artifact into its collection as a generation: files first, each manifest last, then never touched again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reelspace.core.artifacts import Artifact
from reelspace.core.errors import PreconditionFailed, UserError
from reelspace.core.store import Store
from reelspace.search.scheduling.claims import claim
from reelspace.search.scheduling.pointer import change_pointer, check_newer, flipped, now, states_of
from reelspace.search.storage.floor import read_floor
from reelspace.search.storage.layout import (
    Collection,
    CurrentGenerations,
    ServedGeneration,
    ShardManifest,
    collection_key,
    generation_key,
    json_bytes,
    parse,
    read_file,
    sha256,
)
from reelspace.search.storage.log import log_key


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
    create_collection_file(store, collection)
    number = claim(store, collection_key(collection.full_name, "claims"), index.id)
    return publish_directory(store, collection, number, directory)


def publish_directory(store: Store, collection: Collection, number: int, directory: Path) -> PublishedGeneration:
    """Copy shards/<s>/ of a directory to generation `number` of every shard; one that is there already stays."""
    shards = range(collection.num_shards)
    published = tuple(publish_shard(store, collection.full_name, number, shard, directory / "shards" / str(shard)) for shard in shards)
    return PublishedGeneration(collection, number, published)


def point_collection(store: Store, published: PublishedGeneration) -> None:
    """Make the generation the collection's current one; the writes in its log go on top of it.

    Raises:
        UserError: of the log, which the generation has nothing of, objects are dropped already.
        PreconditionFailed: another process flipped the pointer meanwhile.
    """
    check_log_is_whole(store, published)
    point_shards(store, published.collection.full_name, published.shards, dict.fromkeys(range(len(published.shards)), 0), anew=True)


def check_log_is_whole(store: Store, published: PublishedGeneration) -> None:
    """Refuse a generation without log where the log begins with what only other generations hold.

    Raises:
        UserError: names the collection.
    """
    name = published.collection.full_name
    for one in published.shards:
        floor = read_floor(store, log_key(name, one.shard, "floor.json"))
        if floor > 0:
            raise UserError(f"collection {name} has writes that only its own generations hold (up to {floor}): make a new collection")


def point_shards(
    store: Store, collection: str, shards: Sequence[ServedGeneration], contains_log: Mapping[int, int], *, anew: bool = False
) -> None:
    """Make generations of some shards the current ones; the others stay.

    Args:
        contains_log: by shard, the log number up to which the generation holds the rows.
        anew: the generations may be earlier ones, and hold less of the log.

    Raises:
        PreconditionFailed: another process flipped the pointer meanwhile, or to a later generation or more of the log: files of
            an earlier one may be removed by now, and objects that it does not hold dropped.
    """
    key = collection_key(collection, "current.json")
    states = states_of(shards, contains_log)
    if not store.exists(key):
        store.put_if_absent(key, json_bytes(CurrentGenerations(version=1, shards=states, updated_at=now())))
        return

    def flip(current: CurrentGenerations) -> CurrentGenerations:
        if not anew:
            check_newer(collection, current, states)
        return current if {**current.shards, **states} == current.shards else flipped(current, states)

    change_pointer(store, collection, flip)


def create_collection_file(store: Store, collection: Collection) -> None:
    """Write collection.json, or find the same one there.

    Raises:
        UserError: the collection exists and is of another make.
    """
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


def publish_shard(store: Store, collection: str, number: int, shard: int, directory: Path) -> ServedGeneration:
    """Copy the files of one shard to its generation `number`, the manifest last; one that is there already stays."""
    data = (directory / "manifest.json").read_bytes()
    manifest = parse(ShardManifest, data, f"manifest.json of shard {shard}")
    key = generation_key(collection, shard, number, "manifest.json")
    if not store.exists(key):
        for name in sorted(manifest.files):
            store.put_file(generation_key(collection, shard, number, name), directory / name)
        store.put(key, data)
    return ServedGeneration(collection=collection, shard=shard, generation=number, manifest_sha256=sha256(data))
