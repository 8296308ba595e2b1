"""From what serves back to artifacts: which artifact a served model, a collection or a row of it came from."""

import io
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import numpy as np

from reelspace.core.artifacts import Artifact, is_artifact_id, open_artifact
from reelspace.core.errors import ArtifactMissing, CorruptArtifact, UserError
from reelspace.core.lineage_ids import find_artifacts
from reelspace.core.store import Store
from reelspace.search.scheduling.claims import owner_of
from reelspace.search.storage.entries import Write
from reelspace.search.storage.ids import MAX_ID, Id, shard_of
from reelspace.search.storage.layout import (
    SPACE_CLAIMS,
    SPACE_POINTER,
    Collection,
    ShardManifest,
    SpacePointer,
    collection_key,
    generation_key,
    parse,
    read_collection,
    read_current,
    read_file,
    sha256,
)
from reelspace.search.storage.log import Log
from reelspace.search.storage.reader import read_from
from reelspace.search.storage.rows import Op

_UPSERTED: Final = re.compile(r"upsert:([0-9a-f]{40}):\d+:\d+")
_MOST_DIGITS: Final = 20
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[0-9]{1,18})?")


@dataclass(frozen=True, slots=True)
class Origin:
    """Artifacts that something comes from, nearest first, none where none is behind it, and how that was found, in words."""

    artifacts: tuple[str, ...]
    found: tuple[str, ...]


def pointer(store: Store) -> SpacePointer | None:
    """Give what serves, None where nothing was promoted."""
    return read_file(store, SpacePointer, SPACE_POINTER) if store.exists(SPACE_POINTER) else None


def row_id(text: str) -> Id | None:
    """Read the id of a row, an integer below 2^64 or a UUID with its dashes; None if it is neither."""
    if text.isascii() and text.isdigit():
        return int(text) if len(text) <= _MOST_DIGITS and int(text) <= MAX_ID else None
    try:
        return UUID(text) if text.count("-") == 4 else None
    except ValueError:
        return None


def model_origin(store: Store, text: str) -> Origin | None:
    """Trace `model`, of which the served version is meant, or `model/version`; None if no such model was promoted.

    Raises:
        CorruptArtifact: the claim that says which artifact the version was copied from is damaged.
    """
    if not _MODEL.fullmatch(text):
        return None
    serving = pointer(store)
    name, _, version = text.partition("/")
    served = serving.encoders.get(name) if serving else None
    number = int(version) if version else served
    if number is None or not store.exists(f"repository/{name}/{number}/version.json"):
        return None
    owner = _owner(store, f"{SPACE_CLAIMS}/{number:020d}.json")
    what = f"{name} version {number}, {'which serves' if number == served else 'which does not serve'}"
    return Origin((owner,) if owner else (), (what,))


def row_origin(store: Store, row: Id) -> Origin | None:
    """Trace a row of the collection that serves; None if nothing serves or it has no such row.

    The log is asked first, for it is newer than the generations; then which index artifact became the generation.

    Raises:
        UserError: the row was deleted; says when.
        CorruptArtifact: a file on the way is damaged.
    """
    serving = pointer(store)
    if serving is None:
        return None
    collection = read_collection(store, serving.collection)
    shard = shard_of(row, collection.num_shards)
    where = f"row {row} of {collection.full_name}, shard {shard}"
    logged = _last_write(store, collection, shard, row)
    if logged is not None:
        return _of_write(store, where, *logged)
    generation = read_current(store, collection.full_name, collection.num_shards).shards[str(shard)].generation
    if not _has_row(store, collection, shard, generation, row):
        return None
    return _of_generation(store, collection, shard, generation, row, where)


def _last_write(store: Store, collection: Collection, shard: int, row: Id) -> tuple[int, Op, Write] | None:
    """Give the last write of the log, as far as it is kept, that put the row there or removed it."""
    log = Log(store, collection.full_name, shard, collection.fields)
    last = None
    for entry in read_from(log, log.floor()):
        for write in entry.writes:
            ops = [
                op for id, op in zip(write.rows.ids, write.rows.ops_N.tolist(), strict=True) if id == row and op in (Op.UPSERT, Op.DELETE)
            ]
            last = (entry.number, Op(ops[-1]), write) if ops else last
    return last


def _of_write(store: Store, where: str, number: int, op: Op, write: Write) -> Origin:
    at = datetime.fromtimestamp(write.at_us / 1e6, UTC).isoformat(timespec="seconds")
    if op == Op.DELETE:
        raise UserError(
            f"{where} was deleted at {at} (log number {number}, request {write.request_key!r}): nothing of it is left to explain"
        )
    how = f"{where}: written at {at} through the log, number {number}, request {write.request_key!r}"
    named = _UPSERTED.fullmatch(write.request_key)
    vectors = [one for one in find_artifacts(store, named[1]) if _kind(store, one) == "vectors"] if named else []
    return Origin(tuple(vectors), (how,) if vectors else (how, "a client wrote it: no artifact of this store is behind it"))


def _of_generation(store: Store, collection: Collection, shard: int, generation: int, row: Id, where: str) -> Origin:
    for number in range(generation, 0, -1):
        owner = _owner(store, collection_key(collection.full_name, f"claims/{number:020d}.json"))
        artifact = _artifact(store, owner)
        if owner is not None and artifact is None and number == generation:
            return Origin((owner,), (f"{where}: in generation {generation}, which was made of artifact {owner}",))
        if artifact is None or not _index_has(artifact, shard, row):
            continue
        if number == generation:
            return Origin(
                (artifact.id,), (f"{where}: in generation {generation}, which was made of {artifact.manifest.kind} {artifact.id}",)
            )
        later = f"generation {generation} was built of {number} and the log, of which what it contains is dropped: the row may be newer"
        return Origin((artifact.id,), (f"{where}: since generation {number}, made of {artifact.manifest.kind} {artifact.id}", later))
    gone = f"{where}: in generation {generation}, which holds writes whose log is dropped; who wrote the row is not known any more"
    return Origin((), (gone,))


def _index_has(artifact: Artifact, shard: int, row: Id) -> bool:
    if artifact.manifest.kind != "index":
        return True  # a snapshot: it was restored whole
    names = {name: f"shards/{shard}/{name}" for name in ("ids.npy", "uuids.npy")}
    return _holds(row, *(artifact.read(name) if name in artifact.names() else b"" for name in names.values()))


def _has_row(store: Store, collection: Collection, shard: int, generation: int, row: Id) -> bool:
    key = generation_key(collection.full_name, shard, generation, "manifest.json")
    facts = parse(ShardManifest, store.get(key), f"{key} in {store.url}").files
    found = []
    for name in ("ids.npy", "uuids.npy"):
        data = store.get(generation_key(collection.full_name, shard, generation, name))
        if sha256(data) != facts[name].sha256:
            raise CorruptArtifact(f"{name} beside {key} in {store.url} is corrupt: its SHA-256 differs; promote the index again")
        found.append(data)
    return _holds(row, *found)


def _holds(row: Id, integers: bytes, uuids: bytes) -> bool:
    if isinstance(row, int):
        return bool(integers) and bool(np.isin(np.uint64(row), np.load(io.BytesIO(integers), allow_pickle=False)))
    return bool(uuids) and row.bytes in {one.tobytes() for one in np.load(io.BytesIO(uuids), allow_pickle=False)}


def _owner(store: Store, key: str) -> str | None:
    """Give the artifact that a number was claimed for; None if no artifact claimed it, or nobody."""
    owner = owner_of(store, key) if store.exists(key) else None
    return owner if is_artifact_id(owner) else None


def _artifact(store: Store, artifact_id: str | None) -> Artifact | None:
    try:
        return None if artifact_id is None else open_artifact(store, artifact_id)
    except (ArtifactMissing, CorruptArtifact):
        return None


def _kind(store: Store, artifact_id: str) -> str | None:
    found = _artifact(store, artifact_id)
    return found.manifest.kind if found else None
