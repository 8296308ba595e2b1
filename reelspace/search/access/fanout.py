"""Asks every shard, many queries at a time, and merges what they answer.

Queries of different requests that ask for much the same travel together: one call per shard and batch. While calls are in flight
the next batch fills, so a lone query never waits for company.

Legend: Q queries, K hits of one query.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from reelspace.core.errors import TemporaryError
from reelspace.core.settings import Settings
from reelspace.search.access.current_request import first_traced
from reelspace.search.access.merge import Merged, merge_answers
from reelspace.search.access.shard_calls import missing_of, raise_missing
from reelspace.search.access.shard_client import GenerationMissing, ShardClient, ShardTimeout
from reelspace.search.access.view import View
from reelspace.search.compute.queries import AlikeQueries, ShardAnswer, ShardQuery, joined
from reelspace.search.storage.ids import NO_ID, NUM_WORDS, Id


class FanoutSettings(Settings):
    """How queries travel to the shards."""

    max_batch: int = Field(64, ge=1, le=128, description="Queries per call.")
    max_in_flight: int = Field(2, ge=1, le=64, description="Batches on their way at a time.")
    max_waiting: int = Field(2048, ge=1, description="Queries that may wait; more are refused.")


class Overloaded(TemporaryError):
    """More queries wait than may."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Hits of one query, best first; shards that did not answer in time or failed are named.

    `scores` are the shards': higher is better. `payloads` and `vectors` are JSON objects as bytes, None if not asked for.
    `generations` are those that were asked, by shard; empty where whatever was current was.
    """

    ids: list[Id]
    scores: list[float]
    payloads: list[bytes] | None
    vectors: list[bytes] | None
    missing_shards: tuple[int, ...]
    generations: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class FoundAlike:
    """Hits of queries that are alike, as ShardAnswer has them; shards that are missing for some of them are named."""

    ids_QK3: NDArray[np.uint64]
    scores_QK: NDArray[np.float32]
    missing_shards: tuple[int, ...]
    generations: tuple[int, ...] = ()


@dataclass(eq=False, slots=True)
class _Waiting:
    """A query, or some that are alike, waiting for a batch and then for the answer; `row` is that of the first in the batch."""

    query: ShardQuery | AlikeQueries
    timeout_s: float
    deadline_s: float
    allow_partial: bool
    answer: "asyncio.Future[Found | FoundAlike]"
    context: contextvars.Context
    num: int
    batch: "_Batch | None" = None
    row: int = 0

    @property
    def queries(self) -> Sequence[ShardQuery]:
        """Give them as a sequence."""
        return self.query if isinstance(self.query, AlikeQueries) else (self.query,)

    @property
    def group(self) -> tuple[str, bool, tuple[str, ...], int]:
        """What queries of one batch share: a wide answer is not made for a narrow question."""
        query = self.query
        widest = query.k if isinstance(query, AlikeQueries) else query.k + len(query.excluded)
        return query.using, query.with_payload, query.with_vectors, widest.bit_length()


@dataclass(eq=False)
class _Hits:
    """What some shards found for all queries of a batch."""

    merged: Merged
    answers: Sequence[ShardAnswer]

    @cached_property
    def ids(self) -> list[list[Id]]:
        """In lists."""
        return self.merged.ids()

    @cached_property
    def scores(self) -> list[list[float]]:
        """In lists."""
        scores: list[list[float]] = self.merged.scores_QK.tolist()
        return scores


@dataclass(eq=False, slots=True)
class _Batch:
    """Queries on their way, one call per shard."""

    members: Sequence[_Waiting]
    calls: "list[asyncio.Future[ShardAnswer]]"
    num_open: int
    generations: tuple[int, ...] = ()
    hits: dict[tuple[int, ...], _Hits] = field(default_factory=dict)

    def hits_of(self, missing: tuple[int, ...]) -> _Hits:
        """Merge the answers of all shards but some, once for all queries of the batch."""
        if missing not in self.hits:
            answers = [call.result() for shard, call in enumerate(self.calls) if shard not in missing]
            self.hits[missing] = _Hits(merge_answers(answers, max(member.query.k for member in self.members)), answers)
        return self.hits[missing]


class Fanout:
    """Searches all shards of one collection. Belongs to one event loop."""

    def __init__(self, shards: Sequence[ShardClient], settings: FanoutSettings, on_batch: Callable[[int], None] | None = None) -> None:
        self._shards = tuple(shards)
        self._generations: tuple[int, ...] = ()
        self._settings = settings
        self._on_batch = on_batch
        self._waiting: deque[_Waiting] = deque()
        self._num_waiting = 0
        self._num_in_flight = 0
        self._about_to_send = False

    @property
    def num_waiting(self) -> int:
        """Give how many queries wait for their turn."""
        return self._num_waiting

    def use(self, view: View) -> None:
        """Ask the generations of a view from now on; what is on its way is answered by those before."""
        self._shards, self._generations = view.shards, view.generations

    async def search(self, query: ShardQuery, timeout_s: float, *, allow_partial: bool = False) -> Found:
        """Find a query's best hits over all shards.

        Args:
            allow_partial: let shards that are silent or broken be part of the answer instead of an error.

        Raises:
            ShardTimeout: shards did not answer within timeout_s; names them.
            ShardFailed: shards answered with an error, or none could be reached; names them.
            GenerationMissing: a shard does not have the generation of the view: ask again in the next one.
            Overloaded: too many queries wait.
        """
        (found,) = await self.search_all([query], timeout_s, allow_partial=[allow_partial])
        return found

    def search_now(self, query: ShardQuery) -> Found | None:
        """Find a query's best hits on the spot, None where others come first or a shard takes more: then ask `search`.

        Raises:
            ReelspaceError: a shard cannot answer; `search` tells how.
        """
        if self._waiting or self._num_in_flight:
            return None
        if len(self._shards) == 1 and (lone := self._shards[0].lone_now(query)) is not None:
            if self._on_batch:
                self._on_batch(1)
            return Found(*lone, None, None, (), self._generations)
        answers: list[ShardAnswer] = []
        for shard in self._shards:
            answer = shard.search_now((query,))
            if answer is None:
                return None
            answers.append(answer)
        if self._on_batch:
            self._on_batch(1)
        return _found(_Hits(merge_answers(answers, query.k), answers), query, 0, (), self._generations)

    async def search_alike(self, queries: AlikeQueries, timeout_s: float, *, allow_partial: bool = False) -> FoundAlike:
        """Find the best hits of queries that are alike; raises as `search`."""
        size = self._settings.max_batch
        parts = [queries[start : start + size] for start in range(0, len(queries), size)]
        answers = await self._search(parts, timeout_s, [allow_partial] * len(parts))
        found = [answer for answer in answers if isinstance(answer, FoundAlike)]
        if len(found) == 1:
            return found[0]
        if any(one.generations != found[0].generations for one in found):
            raise GenerationMissing("the view changed between two batches of one request")
        missing = sorted({shard for one in found for shard in one.missing_shards})
        return FoundAlike(*_together(found, queries.k), tuple(missing), found[0].generations)

    async def search_all(self, queries: Sequence[ShardQuery], timeout_s: float, *, allow_partial: Sequence[bool]) -> list[Found]:
        """Find the best hits of several queries of one request; raises what `search` raises for the first that fails."""
        answers = await self._search(queries, timeout_s, allow_partial)
        return [answer for answer in answers if isinstance(answer, Found)]

    async def _search(
        self, queries: Sequence[ShardQuery | AlikeQueries], timeout_s: float, allow_partial: Sequence[bool]
    ) -> list[Found | FoundAlike]:
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        deadline_s = loop.time() + timeout_s
        members = [
            _Waiting(query, timeout_s, deadline_s, partial, loop.create_future(), context, _num(query))
            for query, partial in zip(queries, allow_partial, strict=True)
        ]
        num = sum(member.num for member in members)
        if self._num_waiting + num > self._settings.max_waiting:
            self._drop_answered()
        if self._num_waiting + num > self._settings.max_waiting:
            raise Overloaded(f"{self._num_waiting} queries wait already; try again")
        late = loop.call_at(deadline_s, _answer_all, members)
        self._waiting.extend(members)
        self._num_waiting += num
        if not self._about_to_send:
            # What comes in the same turn of the event loop travels together.
            self._about_to_send = True
            loop.call_soon(self._send)
        try:
            return [await member.answer for member in members]
        finally:
            late.cancel()
            for member in members:
                if not member.answer.cancel() and not member.answer.cancelled():
                    member.answer.exception()  # the request has failed by another query of it: nobody else is told

    def _send(self) -> None:
        self._about_to_send = False
        while self._waiting and self._num_in_flight < self._settings.max_in_flight:
            members = self._next_members()
            if members and self._start(members):
                # Others may use the event loop between two batches that kept it.
                if self._waiting and not self._about_to_send:
                    self._about_to_send = True
                    asyncio.get_running_loop().call_soon(self._send)
                return

    def _next_members(self) -> list[_Waiting]:
        """Take the oldest query that still waits, and those that fit to it; the newest where the oldest has lost half of its time.

        Shards that are so far behind would else answer only what is about to be too late, and then nothing in time.
        """
        self._drop_answered()
        newest_first = bool(self._waiting) and self._is_half_late(self._waiting[0])
        members: list[_Waiting] = []
        others: list[_Waiting] = []
        num, most = 0, self._settings.max_batch
        while self._waiting and num < most:
            waiting = self._waiting.pop() if newest_first else self._waiting.popleft()
            if waiting.answer.done():
                self._num_waiting -= waiting.num
            elif not members or (num + waiting.num <= most and waiting.group == members[0].group):
                members.append(waiting)
                num += waiting.num
            else:
                others.append(waiting)
        self._num_waiting -= num
        if newest_first:
            self._waiting.extend(reversed(others))
        else:
            self._waiting.extendleft(reversed(others))
        return members

    def _drop_answered(self) -> None:
        """Forget the oldest queries that are answered by now: too late, or nobody waits any more."""
        while self._waiting and self._waiting[0].answer.done():
            self._num_waiting -= self._waiting.popleft().num

    def _is_half_late(self, waiting: _Waiting) -> bool:
        return waiting.deadline_s - asyncio.get_running_loop().time() < waiting.timeout_s / 2

    def _start(self, members: Sequence[_Waiting]) -> bool:
        """Ask all shards; tells whether they answered on the spot."""
        loop = asyncio.get_running_loop()
        queries = joined([member.queries for member in members])
        timeout_s = max(0.001, max(member.deadline_s for member in members) - loop.time())
        context = first_traced([member.context for member in members])
        calls = [_called(shard, queries, timeout_s, context) for shard in self._shards]
        pending = [call for call in calls if not call.done()]
        batch = _Batch(members, calls, len(pending), self._generations)
        row = 0
        for member in members:
            member.batch, member.row = batch, row
            row += member.num
        if self._on_batch:
            self._on_batch(len(queries))
        if not pending:
            _finish(batch)
            return True
        self._num_in_flight += 1
        for call in pending:
            call.add_done_callback(lambda _call: self._ended(batch))
        return False

    def _ended(self, batch: _Batch) -> None:
        """Answer a batch's queries when its last call has ended."""
        batch.num_open -= 1
        if batch.num_open:
            return
        self._num_in_flight -= 1
        _finish(batch)
        self._send()


def _num(query: ShardQuery | AlikeQueries) -> int:
    return len(query) if isinstance(query, AlikeQueries) else 1


def _called(
    shard: ShardClient, queries: Sequence[ShardQuery], timeout_s: float, context: contextvars.Context | None
) -> "asyncio.Future[ShardAnswer]":
    """Ask one shard: by a task, unless it answers on the spot."""
    loop = asyncio.get_running_loop()
    try:
        answer = context.run(shard.search_now, queries) if context else shard.search_now(queries)
    except Exception as error:  # noqa: BLE001 - whatever it is, the queries that wait must hear of it
        failed: asyncio.Future[ShardAnswer] = loop.create_future()
        failed.set_exception(error)
        return failed
    if answer is None:
        return loop.create_task(shard.search(queries, timeout_s), context=context)
    call: asyncio.Future[ShardAnswer] = loop.create_future()
    call.set_result(answer)
    return call


def _finish(batch: _Batch) -> None:
    _answer_all(batch.members)
    for call in batch.calls:
        if not call.cancelled():
            call.exception()  # where no query waits any more, nobody is left to tell


def _answer_all(members: Sequence[_Waiting]) -> None:
    for member in members:
        _answer(member)


def _answer(waiting: _Waiting) -> None:
    """Answer a query with what its calls have brought by now: all of it, or what there is at the deadline."""
    if waiting.answer.done():
        return
    try:
        waiting.answer.set_result(_collected(waiting))
    except Exception as error:  # noqa: BLE001 - whatever it is, the query that waits must hear of it
        waiting.answer.set_exception(error)


def _collected(waiting: _Waiting) -> Found | FoundAlike:
    batch, timeout_s = waiting.batch, waiting.timeout_s
    if batch is None:
        raise ShardTimeout(f"the query waited {timeout_s:.3g} s for its turn: shards are slower than queries come")
    if not batch.num_open and () in batch.hits:
        return _cut(batch.hits[()], waiting, (), batch.generations)
    silent, errors = missing_of(dict(enumerate(batch.calls)))
    missing = tuple(sorted([*silent, *errors]))
    if missing and (not waiting.allow_partial or len(missing) == len(batch.calls)):
        raise_missing(silent, errors, timeout_s)
    return _cut(batch.hits_of(missing), waiting, missing, batch.generations)


def _cut(hits: _Hits, waiting: _Waiting, missing: tuple[int, ...], generations: tuple[int, ...]) -> Found | FoundAlike:
    query, row = waiting.query, waiting.row
    if isinstance(query, AlikeQueries):
        rows = slice(row, row + len(query))
        return FoundAlike(hits.merged.ids_QK3[rows, : query.k], hits.merged.scores_QK[rows, : query.k], missing, generations)
    return _found(hits, query, row, missing, generations)


def _found(hits: _Hits, query: ShardQuery, row: int, missing: tuple[int, ...], generations: tuple[int, ...]) -> Found:
    ids = hits.ids[row][: query.k]
    scores = hits.scores[row][: len(ids)]
    if not query.with_payload and not query.with_vectors:
        return Found(ids, scores, None, None, missing, generations)
    places = [hits.merged.place(row, hit) for hit in range(len(ids))]
    payloads = vectors = None
    if query.with_payload:
        payloads = [_bytes(hits.answers[part].payloads_QK, row, column) for part, column in places]
    if query.with_vectors:
        vectors = [_bytes(hits.answers[part].vectors_QK, row, column) for part, column in places]
    return Found(ids, scores, payloads, vectors, missing, generations)


def _together(found: Sequence[FoundAlike], k: int) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Put the hits of several batches below each other, all k wide."""
    num_queries = sum(len(one.scores_QK) for one in found)
    ids_QK3 = np.zeros((num_queries, k, NUM_WORDS), dtype=np.uint64)
    ids_QK3[:, :, 0] = NO_ID
    scores_QK = np.full((num_queries, k), -np.inf, dtype=np.float32)
    row = 0
    for one in found:
        num, width = one.scores_QK.shape
        ids_QK3[row : row + num, :width], scores_QK[row : row + num, :width] = one.ids_QK3, one.scores_QK
        row += num
    return ids_QK3, scores_QK


def _bytes(values_QK: NDArray[np.object_] | None, row: int, column: int) -> bytes:
    assert values_QK is not None, "it was asked for"
    value: bytes = values_QK[row, column]
    return value
