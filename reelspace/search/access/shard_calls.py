"""Calls of several shards none of which may be missing, and how missing ones are named."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import NoReturn, TypeVar

from reelspace.search.access.shard_client import GenerationMissing, ShardFailed, ShardTimeout

T = TypeVar("T")


async def all_answers(calls: Mapping[int, Awaitable[T]], timeout_s: float) -> dict[int, T]:
    """Await the calls of some shards together.

    Args:
        calls: by number of the shard.

    Raises:
        ShardTimeout: shards did not answer within timeout_s; names them.
        ShardFailed: shards failed; names them.
        Exception: whatever else a call raised.
    """
    if not calls:
        return {}
    tasks = {shard: asyncio.ensure_future(call) for shard, call in calls.items()}
    try:
        await asyncio.wait(tasks.values(), timeout=timeout_s)
        silent, errors = missing_of(tasks)
        if silent or errors:
            raise_missing(silent, errors, timeout_s)
        return {shard: task.result() for shard, task in tasks.items()}
    finally:
        for task in tasks.values():
            task.cancel()


def missing_of(calls: "Mapping[int, asyncio.Future[T]]") -> tuple[list[int], dict[int, BaseException]]:
    """Tell which shards were silent and which failed.

    Raises:
        GenerationMissing: a shard has another generation than it was asked for: all are to be asked again.
        Exception: what else a call raised, for that is a bug or a client's mistake.
    """
    silent: list[int] = []
    errors: dict[int, BaseException] = {}
    for shard, call in calls.items():
        error = call.exception() if call.done() and not call.cancelled() else None
        if not call.done() or call.cancelled() or isinstance(error, ShardTimeout):
            silent.append(shard)
        elif isinstance(error, ShardFailed) and not isinstance(error, GenerationMissing):
            errors[shard] = error
        elif error is not None:
            raise error
    return silent, errors


def raise_missing(silent: Sequence[int], errors: Mapping[int, BaseException], timeout_s: float) -> NoReturn:
    """Name shards that were silent, or else those that failed and why.

    Raises:
        ShardTimeout: some were silent.
        ShardFailed: none was silent.
    """
    if silent:
        raise ShardTimeout(f"shards {list(silent)} did not answer within {timeout_s:.3g} s")
    reasons = "; ".join(f"shard {shard}: {error}" for shard, error in errors.items())
    raise ShardFailed(f"shards {list(errors)} failed: {reasons}")
