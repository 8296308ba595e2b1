"""Makes a shard's next generation: the rows of the current one with the log's changes, indexed anew, published and pointed at.

Legend: P vectors of one name, D dimension.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reelspace.core.errors import ArtifactMissing
from reelspace.core.store import Store
from reelspace.search.compute.build import BuildRows, BuildVectors, IndexSettings, write_generation
from reelspace.search.compute.generation import MANIFEST
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.compute.payloads import Payloads
from reelspace.search.compute.row_ids import SealedIds
from reelspace.search.compute.shard import Shard
from reelspace.search.scheduling.claims import claim
from reelspace.search.scheduling.generations import point_shards, publish_shard
from reelspace.search.scheduling.reshard_state import kept_after
from reelspace.search.storage.layout import (
    Collection,
    CurrentGenerations,
    ServedGeneration,
    ShardManifest,
    ShardState,
    collection_key,
    generation_key,
    read_collection,
    read_current,
    read_file,
)
from reelspace.search.storage.log import Log, truncate
from reelspace.search.storage.seen_numbers import SeenNumbers


@dataclass(frozen=True, slots=True)
class Built:
    """A generation of one shard whose files are in the store, and which nothing names yet."""

    served: ServedGeneration
    contains_log: Mapping[int, int]

    @property
    def generation(self) -> int:
        """Give its number."""
        return self.served.generation


def rebuild_shard(store: Store, collection: Collection, shard: int, settings: IndexSettings, scratch: Path) -> ServedGeneration:
    """Build the next generation of a shard from all that is in its log now, and make it current; see `make_current` for errors."""
    return _point(store, collection, build_next(store, collection, shard, settings, scratch))


def build_next(store: Store, collection: Collection, shard: int, settings: IndexSettings, scratch: Path) -> Built:
    """Build the next generation of a shard from all that is in its log now."""
    with ShardHost(store, collection, shard, Hosting(poll_s=3600.0)) as host:
        rows = host.with_shard(lambda loaded: rows_of_shard(loaded, collection))
    return _built(store, collection, shard, rows, settings, scratch)


def make_current(
    store: Store, collection: Collection, shard: int, rows: BuildRows, settings: IndexSettings, scratch: Path
) -> ServedGeneration:
    """Index the rows of a shard as its next generation, and make it current.

    Killed at any moment, it leaves the current generation as it is; of two at a time the one with the higher number stays current.

    Args:
        scratch: a directory for the new files; what is made there stays for the caller to remove.

    Raises:
        PreconditionFailed: another process moved the pointer meanwhile, or had moved it to a later generation: nothing changed.
    """
    return _point(store, collection, _built(store, collection, shard, rows, settings, scratch))


def _built(store: Store, collection: Collection, shard: int, rows: BuildRows, settings: IndexSettings, scratch: Path) -> Built:
    directory = scratch / f"shard-{shard}-{secrets.token_hex(4)}"
    manifest = write_generation(rows, collection, shard, settings, directory)
    number = claim(store, collection_key(collection.full_name, "claims"), f"rebuild-{secrets.token_hex(8)}")
    return Built(publish_shard(store, collection.full_name, number, shard, directory), {shard: manifest.contains_log})


def _point(store: Store, collection: Collection, built: Built) -> ServedGeneration:
    point_shards(store, collection.full_name, [built.served], built.contains_log)
    return built.served


def rows_of_shard(shard: Shard, collection: Collection) -> BuildRows:
    """Give the live rows of a shard in the order of their ids."""
    live = np.flatnonzero(~shard.dead_N)
    words_N3 = shard.ids.words(live)
    order = np.lexsort((words_N3[:, 2], words_N3[:, 1], words_N3[:, 0]))
    rows_N, words_N3 = live[order], words_N3[order]
    is_integer_N = words_N3[:, 0] == 0
    ids = SealedIds(
        np.ascontiguousarray(words_N3[is_integer_N, 2]), words_N3[~is_integer_N, 1:].astype(">u8").view(np.uint8).reshape(-1, 16)
    )
    vectors = {}
    for name, index in shard.indexes.items():
        positions_N = index.positions(rows_N)
        has_N = positions_N >= 0
        rows_P = None if has_N.all() else np.flatnonzero(has_N)
        vectors[name] = BuildVectors(collection.vectors[name], index.gather(positions_N[has_N]), rows_P)
    payloads = Payloads(shard.payloads.indexed)
    payloads.append_checked(shard.payloads.jsons(rows_N.tolist()))
    return BuildRows(ids, vectors, payloads, shard.applied)


def drop_old(store: Store, collection: Collection, shard: int, seen: SeenNumbers | None = None) -> None:
    """Remove generations before those that the pointer names, and what of the log these hold and no retry needs.

    The one that was current before is named for a way back. What lies between may be on its way, or left by a killed builder.

    Args:
        seen: what this process has seen of logs; None: it is about to end, has seen nothing for long, and leaves logs to one that goes on.
    """
    name = collection.full_name
    pointer = read_current(store, name, collection.num_shards)
    oldest = min(state.generation for state in _named(pointer, shard))
    prefix = collection_key(name, f"shards/{shard}/generations/")
    for number in sorted({int(found.removeprefix(prefix).partition("/")[0]) for found in store.list(prefix)}):
        if number < oldest:
            _remove(store, name, shard, number)
    if seen is not None:
        _drop_log(store, collection, shard, pointer, seen)


def drop_logs(store: Store, full_name: str, seen: SeenNumbers) -> None:
    """Note what a collection's generations tell of its logs, and drop what they hold and no retry needs, if there is any."""
    collection = read_collection(store, full_name)
    pointer = read_current(store, full_name, collection.num_shards)
    for shard in range(collection.num_shards):
        log, numbers = Log(store, full_name, shard, collection.fields), [state.contains_log for state in _named(pointer, shard)]
        seen.see(log, max(numbers))
        droppable = min(*numbers, seen.old(log))
        if droppable and droppable > log.floor():
            _drop_log(store, collection, shard, pointer, seen)


def _drop_log(store: Store, collection: Collection, shard: int, pointer: CurrentGenerations, seen: SeenNumbers) -> None:
    name, log = collection.full_name, Log(store, collection.full_name, shard, collection.fields)
    try:
        keys = [generation_key(name, shard, state.generation, MANIFEST) for state in _named(pointer, shard)]
        contained = [read_file(store, ShardManifest, key).contains_log for key in keys]
    except ArtifactMissing:
        return  # the pointer has moved on meanwhile: whoever moved it drops what is old by then
    seen.see(log, max(contained))
    truncate(log, min(kept_after(store, name, shard, min(contained)), seen.old(log)))


def _named(pointer: CurrentGenerations, shard: int) -> list[ShardState]:
    key = str(shard)
    return [states[key] for states in (pointer.shards, pointer.previous, pointer.beside) if key in states]


def _remove(store: Store, collection: str, shard: int, number: int) -> None:
    # The manifest first: nobody may take for whole what is being removed.
    keys = list(store.list(generation_key(collection, shard, number, "")))
    for key in sorted(keys, key=lambda key: not key.endswith(MANIFEST)):
        store.delete(key)
