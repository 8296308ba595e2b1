"""Changes of a collection's pointer: every one by put_if_match, and one of a controller only if no later controller wrote it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from reelspace.core.errors import PreconditionFailed, UserError
from reelspace.core.store import Store
from reelspace.search.storage.layout import CurrentGenerations, ServedGeneration, ShardState, collection_key, json_bytes, parse

NUM_TRIES: Final = 20


def change_pointer(
    store: Store, full_name: str, change: Callable[[CurrentGenerations], CurrentGenerations], epoch: int | None = None
) -> CurrentGenerations:
    """Replace a pointer by what a function makes of it, and give that.

    Args:
        change: called again when another writer was first; what it raises ends the change.
        epoch: number of the controller that writes; None: one that needs not lead.

    Raises:
        PreconditionFailed: a later controller wrote it, or others were faster every time.
        ArtifactMissing: the collection has none.
    """
    key = collection_key(full_name, "current.json")
    for _ in range(NUM_TRIES):
        data, etag = store.get_with_etag(key)
        current = parse(CurrentGenerations, data, f"{key} in {store.url}")
        if epoch is not None and current.epoch > epoch:
            raise PreconditionFailed(f"controller {current.epoch} has taken {full_name} over from {epoch}")
        changed = change(current)
        if changed == current:
            return current
        changed = changed.model_copy(update={"updated_at": now(), "epoch": current.epoch if epoch is None else epoch})
        try:
            store.put_if_match(key, json_bytes(changed), etag)
        except PreconditionFailed:
            continue
        return changed
    raise PreconditionFailed(f"{key} in {store.url} was changed by others each of {NUM_TRIES} times: try again")


def states_of(shards: Sequence[ServedGeneration], contains_log: Mapping[int, int]) -> dict[str, ShardState]:
    """Give generations as a pointer names them.

    Args:
        contains_log: by shard, the log number up to which the generation holds the rows.
    """
    return {
        str(one.shard): ShardState(generation=one.generation, contains_log=contains_log[one.shard], manifest_sha256=one.manifest_sha256)
        for one in shards
    }


def flipped(current: CurrentGenerations, states: Mapping[str, ShardState]) -> CurrentGenerations:
    """Give a pointer after a flip of some shards, which names nothing beside them."""
    changes = {"version": current.version + 1, "shards": {**current.shards, **states}, "beside": {}, "previous": current.shards}
    return current.model_copy(update=changes)


def roll_back(store: Store, full_name: str) -> CurrentGenerations:
    """Make the generations current that were so before the last flip; what is written since stays, for it is in the log.

    Done again it goes forward again. Servers that have both loaded answer from the other at once.

    Raises:
        UserError: there are none.
    """

    def back(current: CurrentGenerations) -> CurrentGenerations:
        changed = {shard: state for shard, state in current.previous.items() if current.shards.get(shard) != state}
        if not changed:
            raise UserError(f"collection {full_name} has no generations before the current ones")
        return flipped(current, changed).model_copy(update={"beside": {shard: current.shards[shard] for shard in changed}})

    return change_pointer(store, full_name, back)


def check_newer(full_name: str, current: CurrentGenerations, states: Mapping[str, ShardState]) -> None:
    """Refuse generations that are earlier than the current ones, or hold less of the log: what they lack may be gone.

    Raises:
        PreconditionFailed: names the first shard.
    """
    for shard, state in states.items():
        known = current.shards.get(shard)
        if known is not None and (known.contains_log > state.contains_log or known.generation > state.generation):
            what = f"generation {state.generation} of shard {shard} of {full_name} holds its log up to {state.contains_log}"
            raise PreconditionFailed(f"{what}, generation {known.generation} meanwhile up to {known.contains_log}: build it again")


def now() -> str:
    """Give the time as pointers have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
