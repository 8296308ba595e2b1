"""Checks all that a store holds of its collections: files and logs by their hashes, pointers against floors, rows, recall."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reelspace.core.errors import ReelspaceError
from reelspace.core.store import Store
from reelspace.search.scheduling.reshard_state import read_reshard, reshard_key
from reelspace.search.storage.floor import read_floor
from reelspace.search.storage.known import Known, read_known
from reelspace.search.storage.layout import Collection, collection_key, read_collection, read_current
from reelspace.search.storage.log import log_key
from reelspace.search.tools.findings import Damage, ShardCheck, noting
from reelspace.search.tools.shard_verifier import ShardVerifier

NUM_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at shard by shard, and everything that is damaged."""

    shards: Sequence[ShardCheck]
    damages: Sequence[Damage]


def verify_store(store: Store) -> Verification:
    """Check every collection of a store, also one that is served and written meanwhile; one shard is in memory at a time."""
    damages: list[Damage] = []
    shards: list[ShardCheck] = []
    present = sorted({key.split("/")[1] for key in store.list("collections/") if key.count("/") > 1})
    known: Known | None = None
    with noting(damages, "collections/names.json"):
        known = read_known(store)
        damages += _nameless(known, present)
    unfinished = set()
    for name in present:
        with noting(damages, reshard_key(name)):
            state = read_reshard(store, name)
            unfinished |= {*state.left, *([state.to] if state.state == "copying" else [])}
    for name in present:
        if name in unfinished or (known is not None and _is_half_made(store, known, name)):
            continue  # it is not whole yet, and nobody knows it
        made: Collection | None = None
        with noting(damages, collection_key(name)):
            made = read_collection(store, name)
        if made is not None:
            shards += [_verify_shard(store, made, shard) for shard in range(made.num_shards)]
    return Verification(shards, [*damages, *(damage for check in shards for damage in check.damages)])


def _nameless(known: Known, present: Sequence[str]) -> list[Damage]:
    """Find names that mean nothing."""
    wanted = {*known.names.collections.values()} | ({known.promoted.collection} if known.promoted else set())
    damages = [Damage(collection_key(name), "a name means this collection, and nothing of it is there") for name in wanted - {*present}]
    lost = {alias: name for alias, name in known.names.aliases.items() if known.full_name(alias) is None}
    return damages + [Damage("collections/names.json", f"alias {alias!r} means {name!r}, which is none") for alias, name in lost.items()]


def _is_half_made(store: Store, known: Known, name: str) -> bool:
    """Tell whether a collection is being made or removed, or was left so by somebody who was killed: it has no pointer and no name."""
    return not known.wants(name) and not store.exists(collection_key(name, "current.json"))


def _verify_shard(store: Store, made: Collection, shard: int) -> ShardCheck:
    """Check a shard, again where it moved on meanwhile: then files may be gone that were there."""
    for _ in range(NUM_TRIES):
        before = _position(store, made, shard)
        check = ShardVerifier(store, made, shard).verify()
        if not check.damages or before == _position(store, made, shard):
            break
    return check


def _position(store: Store, made: Collection, shard: int) -> object:
    try:
        state = read_current(store, made.full_name, made.num_shards).shards[str(shard)]
        return state, read_floor(store, log_key(made.full_name, shard, "floor.json"))
    except ReelspaceError as error:
        return str(error)


def lines(found: Verification) -> list[str]:
    """Tell it: a line for each shard, then one for each damage."""
    told = []
    for check in found.shards:
        recall = ", ".join(f"{name or 'vector'} {value:.3f}" for name, value in check.recall.items())
        rows = "damaged" if check.num_rows is None else f"{check.num_rows:,} rows, recall of {recall}"
        seen = f"{check.num_files} files, {check.num_objects} log objects, {check.size_bytes:,} bytes"
        told.append(f"{check.collection} shard {check.shard}: {seen}; {rows}")
    return [*told, *(f"DAMAGED {damage.place}: {damage.problem}" for damage in found.damages), f"{len(found.damages)} damages"]
