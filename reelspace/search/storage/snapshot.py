"""Snapshots: a collection at one number of each shard's log, as an artifact that another store can hold.

What is copied is what the collection consists of: its current generations, and the log objects that they do not contain.
Taken under write load it holds exactly the rows up to `last`; request keys travel with the log, so retries stay safe. The mark at which
the log of a collection that moved into another ends is left out: what is restored may be written to.

snapshot.json, collection.json, shards/<s>/generations/<g>/..., shards/<s>/log/<20-digit n>.arrow
"""

import re
import secrets
from collections.abc import Mapping
from hashlib import file_digest
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from reelspace.core.artifacts import Artifact, write_artifact
from reelspace.core.errors import ArtifactMissing, CorruptArtifact, OutputOccupied, PreconditionFailed, TemporaryError, UserError
from reelspace.core.settings import Settings
from reelspace.core.store import Store
from reelspace.search.storage.entries import mark_of, seal, unseal
from reelspace.search.storage.floor import raise_floor, read_floor
from reelspace.search.storage.layout import (
    NAME_PATTERN,
    Collection,
    CurrentGenerations,
    Sha256,
    ShardManifest,
    ShardState,
    collection_key,
    generation_key,
    json_bytes,
    parse,
    read_collection,
    read_current,
    read_file,
    sha256,
)
from reelspace.search.storage.log import last_number, log_key, object_name

KIND: Final = "snapshot"


class ShardCut(Settings):
    """Where a shard was cut: rows of the generation, then log objects contains_log + 1 to last."""

    generation: int | None = Field(ge=1, description="None while a new collection has none.")
    contains_log: int = Field(ge=0)
    last: int = Field(ge=0)


class SnapshotFile(Settings):
    """What snapshot.json says."""

    format_version: Literal[1] = 1
    collection: str = Field(description="Full name it had.")
    updated_at: str = Field(description="When its generations became current; empty if it has none.")
    shards: dict[str, ShardCut]


class RestoreFile(Settings):
    """What restored.json says: it claims the collection's name before, and its origin after, the restore."""

    snapshot: Sha256


def take_snapshot(store: Store, collection: str, into: Store, scratch: Path) -> Artifact:
    """Copy a collection as it is now into an artifact; writers go on meanwhile.

    Args:
        collection: its full name.
        into: the store that gets the artifact, the same one or another.
        scratch: a directory with room for the whole collection; what is made there stays for the caller to remove.

    Raises:
        CorruptArtifact: a file of a generation or a log object is damaged; no snapshot is made.
        TemporaryError: what is copied was retired meanwhile: take it again.
    """
    directory = scratch / f"snapshot-{secrets.token_hex(4)}"
    directory.mkdir(parents=True)
    made = read_collection(store, collection)
    try:
        facts = _cut(store, made)
        for shard, cut in facts.shards.items():
            _copy_generation(store, collection, int(shard), cut, directory)
            _copy_log(store, collection, int(shard), cut, directory)
    except ArtifactMissing as error:
        raise TemporaryError(f"collection {collection} moved on while its snapshot was taken: take it again ({error})") from error
    (directory / "collection.json").write_bytes(json_bytes(made))
    (directory / "snapshot.json").write_bytes(json_bytes(facts))
    return write_artifact(into, KIND, directory, parents=(), code="", settings={"collection": collection})


def restore_snapshot(snapshot: Artifact, store: Store, scratch: Path, name: str | None = None) -> str:
    """Make a new collection of a snapshot and give its full name; flip an alias to it to replace another.

    Every byte is checked before the first is written. Killed and called again, it goes on; the collection appears last.

    Args:
        name: its name without the space; None keeps the one it had.
        scratch: a directory with room for the snapshot.

    Raises:
        CorruptArtifact: the snapshot is damaged; the store is as it was.
        OutputOccupied: the store has a collection of that name, or another restore works on it.
    """
    if snapshot.manifest.kind != KIND or (name is not None and not re.fullmatch(NAME_PATTERN, name)):
        raise UserError(f"artifact {snapshot.manifest.kind} {snapshot.id[:12]}, name {name!r}: expected a snapshot and a collection's name")
    directory = snapshot.fetch(scratch / snapshot.id)
    made = parse(Collection, (directory / "collection.json").read_bytes(), f"collection.json of snapshot {snapshot.id[:12]}")
    facts = parse(SnapshotFile, (directory / "snapshot.json").read_bytes(), f"snapshot.json of snapshot {snapshot.id[:12]}")
    made = made if name is None else made.model_copy(update={"name": name})
    _check_whole(directory, made, facts)
    _claim(store, made.full_name, snapshot.id)
    for shard, cut in facts.shards.items():
        _restore_generation(store, made.full_name, int(shard), cut, directory)
        _restore_log(store, made.full_name, int(shard), facts, directory)
    states = {shard: _state(directory, int(shard), cut) for shard, cut in facts.shards.items() if cut.generation is not None}
    if states:
        current = CurrentGenerations(version=1, shards=states, updated_at=facts.updated_at)
        _put_once(store, made.full_name, collection_key(made.full_name, "current.json"), json_bytes(current))
    _put_once(store, made.full_name, collection_key(made.full_name), json_bytes(made))
    return made.full_name


def _cut(store: Store, made: Collection) -> SnapshotFile:
    try:
        current = read_current(store, made.full_name, made.num_shards)
    except ArtifactMissing:
        current = None
    states: Mapping[str, ShardState] = current.shards if current else {}
    cuts = {}
    for shard in range(made.num_shards):
        state = states.get(str(shard))
        contains_log = state.contains_log if state else 0
        last = max(contains_log, _last_write(store, made, shard))
        cuts[str(shard)] = ShardCut(generation=state.generation if state else None, contains_log=contains_log, last=last)
    return SnapshotFile(collection=made.full_name, updated_at=current.updated_at if current else "", shards=cuts)


def _last_write(store: Store, made: Collection, shard: int) -> int:
    last = last_number(store, made.full_name, shard)
    key = log_key(made.full_name, shard, object_name(last))
    mark = mark_of(key, store.get(key)) if last else None
    return last - 1 if mark is not None and mark.kind == "moved_to" else last


def _copy_generation(store: Store, collection: str, shard: int, cut: ShardCut, directory: Path) -> None:
    if cut.generation is None:
        return
    place = _generation_place(directory, shard, cut)
    place.mkdir(parents=True)
    key = generation_key(collection, shard, cut.generation, "manifest.json")
    data = store.get(key)
    manifest = parse(ShardManifest, data, f"{key} in {store.url}")
    if manifest.contains_log != cut.contains_log:
        pointer = collection_key(collection, "current.json")
        raise CorruptArtifact(
            f"{pointer} says that shard {shard} holds its log up to {cut.contains_log}, its manifest {manifest.contains_log}"
        )
    for name in manifest.files:
        store.get_file(generation_key(collection, shard, cut.generation, name), place / name)
    (place / "manifest.json").write_bytes(data)
    _check_files(place, manifest, f"generation {cut.generation} of shard {shard} of {collection}")


def _copy_log(store: Store, collection: str, shard: int, cut: ShardCut, directory: Path) -> None:
    place = _log_place(directory, shard)
    place.mkdir(parents=True)
    for number in range(cut.contains_log + 1, cut.last + 1):
        key = log_key(collection, shard, object_name(number))
        data = store.get(key)
        unseal(key, data)
        (place / object_name(number)).write_bytes(data)
    floor = read_floor(store, log_key(collection, shard, "floor.json"))
    if floor > cut.contains_log:
        # Objects below the floor may be those of a writer that slept.
        raise ArtifactMissing(f"the log of shard {shard} is dropped up to {floor}")


def _check_whole(directory: Path, made: Collection, facts: SnapshotFile) -> None:
    if sorted(facts.shards) != sorted(str(shard) for shard in range(made.num_shards)):
        raise CorruptArtifact(f"snapshot of {facts.collection} holds shards {', '.join(facts.shards)}, expected {made.num_shards}")
    for shard, cut in facts.shards.items():
        if cut.generation is not None:
            place = _generation_place(directory, int(shard), cut)
            manifest = parse(ShardManifest, _bytes(place / "manifest.json"), f"{place}/manifest.json")
            _check_files(place, manifest, f"generation {cut.generation} of shard {shard} in the snapshot of {facts.collection}")
        for number in range(cut.contains_log + 1, cut.last + 1):
            unseal(
                log_key(facts.collection, int(shard), object_name(number)), _bytes(_log_place(directory, int(shard)) / object_name(number))
            )


def _claim(store: Store, collection: str, snapshot: str) -> None:
    if store.exists(collection_key(collection)):
        raise _occupied(store, collection)
    key = collection_key(collection, "restored.json")
    try:
        store.put_if_absent(key, json_bytes(RestoreFile(snapshot=snapshot)))
    except PreconditionFailed:
        if read_file(store, RestoreFile, key).snapshot != snapshot:
            raise _occupied(store, collection) from None


def _restore_generation(store: Store, collection: str, shard: int, cut: ShardCut, directory: Path) -> None:
    if cut.generation is None:
        return
    place = _generation_place(directory, shard, cut)
    manifest = parse(ShardManifest, (place / "manifest.json").read_bytes(), f"{place}/manifest.json")
    for name, facts in manifest.files.items():
        store.put_file(generation_key(collection, shard, cut.generation, name), place / name, facts.sha256)
    store.put_file(generation_key(collection, shard, cut.generation, "manifest.json"), place / "manifest.json")


def _restore_log(store: Store, collection: str, shard: int, facts: SnapshotFile, directory: Path) -> None:
    cut = facts.shards[str(shard)]
    if last_number(store, collection, shard) > cut.last:
        raise _occupied(store, collection)
    if cut.contains_log:
        key = log_key(collection, shard, "floor.json")
        raise_floor(store, key, cut.contains_log)
    for number in range(cut.contains_log + 1, cut.last + 1):
        data = (_log_place(directory, shard) / object_name(number)).read_bytes()
        key = log_key(collection, shard, object_name(number))
        # The hash covers the place, and the place has another name now.
        _put_once(store, collection, key, seal(key, unseal(log_key(facts.collection, shard, object_name(number)), data)))


def _put_once(store: Store, collection: str, key: str, data: bytes) -> None:
    try:
        store.put_if_absent(key, data)
    except PreconditionFailed:
        if store.get(key) != data:
            raise _occupied(store, collection) from None


def _state(directory: Path, shard: int, cut: ShardCut) -> ShardState:
    assert cut.generation is not None
    manifest = _bytes(_generation_place(directory, shard, cut) / "manifest.json")
    return ShardState(generation=cut.generation, contains_log=cut.contains_log, manifest_sha256=sha256(manifest))


def _check_files(place: Path, manifest: ShardManifest, what: str) -> None:
    for name, facts in manifest.files.items():
        if not (place / name).is_file():
            raise CorruptArtifact(f"{what} lacks the file {name!r}")
        with (place / name).open("rb") as file:
            found = file_digest(file, "sha256").hexdigest()
        if found != facts.sha256:
            raise CorruptArtifact(f"file {name!r} of {what} is corrupt: its SHA-256 is {found[:16]}..., expected {facts.sha256[:16]}...")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CorruptArtifact(f"snapshot lacks {path.name}") from error


def _occupied(store: Store, collection: str) -> OutputOccupied:
    return OutputOccupied(f"{store.url} has a collection {collection} already, or what is left of one: choose another name")


def _generation_place(directory: Path, shard: int, cut: ShardCut) -> Path:
    return directory / "shards" / str(shard) / "generations" / str(cut.generation)


def _log_place(directory: Path, shard: int) -> Path:
    return directory / "shards" / str(shard) / "log"
