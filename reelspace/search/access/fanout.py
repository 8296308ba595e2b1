"""Asks every shard, many queries at a time, and merges what they answer.

Queries of different requests that ask for about as many hits travel together: one call per shard and batch. While calls are in
flight the next batch fills, so a lone query never waits for company.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from reelspace.core.errors import TemporaryError
from reelspace.core.settings import Settings
from reelspace.search.access.merge import Merged, merge_hits
from reelspace.search.access.shard_client import ShardAnswer, ShardClient, ShardFailed, ShardQuery, ShardTimeout


class FanoutSettings(Settings):
    """How queries travel to the shards."""

    max_batch: int = Field(64, ge=1, le=128, description="Queries per call.")
    max_in_flight: int = Field(2, ge=1, le=64, description="Batches on their way at a time.")
    max_waiting: int = Field(2048, ge=1, description="Queries that may wait; more are refused.")


class Overloaded(TemporaryError):
    """More queries wait than may."""


@dataclass(frozen=True, slots=True)
class Found:
    """Hits of one query, best first; shards that did not answer in time or failed are named, with why."""

    ids: list[int]
    scores: list[float]
    payloads: list[bytes] | None
    missing_shards: tuple[int, ...]


@dataclass(eq=False, slots=True)
class _Batch:
    """Queries on their way, one call per shard."""

    queries: Sequence[ShardQuery]
    calls: Sequence["asyncio.Task[ShardAnswer]"]
    merged: dict[tuple[int, ...], Merged] = field(default_factory=dict)

    def merge(self, shards: tuple[int, ...]) -> Merged:
        """Merge the answers of some shards, once for all queries of the batch."""
        if shards not in self.merged:
            parts = [self.calls[shard].result().hits for shard in shards]
            self.merged[shards] = merge_hits(parts, max(query.k for query in self.queries))
        return self.merged[shards]


@dataclass(eq=False, slots=True)
class _Waiting:
    """A query that waits for its batch; `sent` gives the batch and the query's row in it."""

    query: ShardQuery
    deadline: float
    sent: "asyncio.Future[tuple[_Batch, int]]"

    @property
    def group(self) -> tuple[bool, int]:
        """What queries of one batch share: a wide answer is not made for a narrow question."""
        return self.query.with_payload, (self.query.k + len(self.query.excluded)).bit_length()


class Fanout:
    """Searches all shards of one collection. Belongs to one event loop."""

    def __init__(self, shards: Sequence[ShardClient], settings: FanoutSettings, on_batch: Callable[[int], None] | None = None) -> None:
        self._shards = tuple(shards)
        self._settings = settings
        self._on_batch = on_batch
        self._waiting: deque[_Waiting] = deque()
        self._num_in_flight = 0
        self._finishing: set[asyncio.Task[None]] = set()

    async def search(self, query: ShardQuery, timeout_s: float, *, allow_partial: bool = False) -> Found:
        """Find a query's best hits over all shards.

        Args:
            allow_partial: let shards that are silent or broken be part of the answer instead of an error.

        Raises:
            ShardTimeout: shards did not answer within timeout_s; names them.
            ShardFailed: shards answered with an error, or none could be reached; names them.
            Overloaded: too many queries wait.
        """
        if len(self._waiting) >= self._settings.max_waiting:
            raise Overloaded(f"{len(self._waiting)} queries wait already; try again")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(query, loop.time() + timeout_s, loop.create_future())
        self._waiting.append(waiting)
        self._send()
        try:
            async with asyncio.timeout_at(waiting.deadline):
                batch, row = await waiting.sent
        except TimeoutError as error:
            raise ShardTimeout(f"the query waited {timeout_s:.3g} s for its turn: shards are slower than queries come") from error
        await asyncio.wait(batch.calls, timeout=max(0.0, waiting.deadline - loop.time()))
        return _collect(batch, row, timeout_s, allow_partial)

    async def vector(self, shard: int, point_id: int, timeout_s: float) -> NDArray[np.float32] | None:
        """Give a point's stored vector from the shard that holds it, None if it is unknown."""
        return await self._shards[shard].vector(point_id, timeout_s)

    def _send(self) -> None:
        while self._waiting and self._num_in_flight < self._settings.max_in_flight:
            members = self._next_members()
            if members:
                self._start(members)

    def _next_members(self) -> list[_Waiting]:
        """Take the oldest query that still waits, and those that fit to it."""
        members: list[_Waiting] = []
        others: list[_Waiting] = []
        while self._waiting and len(members) < self._settings.max_batch:
            waiting = self._waiting.popleft()
            if waiting.sent.done():
                continue
            fits = not members or waiting.group == members[0].group
            (members if fits else others).append(waiting)
        self._waiting.extendleft(reversed(others))
        return members

    def _start(self, members: Sequence[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        queries = [member.query for member in members]
        timeout_s = max(0.001, max(member.deadline for member in members) - loop.time())
        calls = [loop.create_task(shard.search(queries, timeout_s)) for shard in self._shards]
        batch = _Batch(queries, calls)
        self._num_in_flight += 1
        finishing = loop.create_task(self._finish(calls))
        self._finishing.add(finishing)
        finishing.add_done_callback(self._finishing.discard)
        for row, member in enumerate(members):
            member.sent.set_result((batch, row))
        if self._on_batch:
            self._on_batch(len(queries))

    async def _finish(self, calls: Sequence["asyncio.Task[ShardAnswer]"]) -> None:
        # Exceptions belong to the queries that still wait for them; where none does, nobody is left to tell.
        await asyncio.gather(*calls, return_exceptions=True)
        self._num_in_flight -= 1
        self._send()


def _collect(batch: _Batch, row: int, timeout_s: float, allow_partial: bool) -> Found:
    silent = [shard for shard, call in enumerate(batch.calls) if not call.done() or isinstance(call.exception(), ShardTimeout)]
    errors = {shard: call.exception() for shard, call in enumerate(batch.calls) if call.done() and shard not in silent and call.exception()}
    for error in errors.values():
        if error is not None and not isinstance(error, ShardFailed):
            raise error
    answered = tuple(shard for shard in range(len(batch.calls)) if shard not in silent and shard not in errors)
    if not allow_partial or not answered:
        _raise_missing(silent, errors, timeout_s)
    return _cut(batch, row, answered, tuple(sorted([*silent, *errors])))


def _raise_missing(silent: Sequence[int], errors: dict[int, BaseException | None], timeout_s: float) -> None:
    if silent:
        raise ShardTimeout(f"shards {list(silent)} did not answer within {timeout_s:.3g} s")
    if errors:
        reasons = "; ".join(f"shard {shard}: {error}" for shard, error in errors.items())
        raise ShardFailed(f"shards {list(errors)} failed: {reasons}")


def _cut(batch: _Batch, row: int, answered: tuple[int, ...], missing: tuple[int, ...]) -> Found:
    query, merged = batch.queries[row], batch.merge(answered)
    ids_K = merged.hits.ids_QK[row, : query.k]
    num_hits = int((ids_K >= 0).sum())
    payloads = None
    if query.with_payload:
        places = zip(merged.parts_QK[row, :num_hits], merged.columns_QK[row, :num_hits], strict=True)
        payloads = [_payload(batch.calls[answered[part]].result(), row, int(column)) for part, column in places]
    return Found(ids_K[:num_hits].tolist(), merged.hits.scores_QK[row, :num_hits].tolist(), payloads, missing)


def _payload(answer: ShardAnswer, row: int, column: int) -> bytes:
    assert answer.payloads_QK is not None, "payload was asked for"
    return bytes(answer.payloads_QK[row, column])
