"""A shard inside the gateway's process.

Handing work to a thread and its answer back costs more than a quick search, so what is expected to be quick is done on the spot.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Final, Self, TypeVar

from reelspace.core.errors import ArtifactMissing, CorruptArtifact, ReelspaceError, UserError
from reelspace.search.access.shard_client import GenerationMissing, ModelRefused, ShardFailed, ShardTimeout
from reelspace.search.compute.host import GenerationGone, ShardBehind, ShardHost
from reelspace.search.compute.queries import Describe, Read, ReadAnswer, ShardAnswer, ShardFacts, ShardQuery
from reelspace.search.storage.ids import Id

QUICK_S: Final = 0.006
"""So long may the event loop be kept by one batch of queries."""
FIRST_GUESS_S: Final = 0.001
FORGETTING: Final = 0.9
T = TypeVar("T")


class LocalShard:
    """Asks a ShardHost from an event loop; the work is done by the executor's threads, where faiss lets others run."""

    def __init__(self, host: ShardHost, executor: Executor, generation: int = 0) -> None:
        """Connect.

        Args:
            generation: the one that is asked; 0: the one that is current at any time.
        """
        self._host = host
        self._executor = executor
        self._generation = generation
        self._query_s = FIRST_GUESS_S

    def at(self, generation: int) -> Self:
        """Give the client of one generation."""
        return type(self)(self._host, self._executor, generation)

    async def prepare(self, generation: int, timeout_s: float) -> None:
        """Load a generation that the pointer names."""
        if generation not in self._host.loaded:
            await _answered(asyncio.to_thread(self._host.refresh), timeout_s)
        if generation not in self._host.loaded:
            raise GenerationMissing(f"the pointer names generations {self._host.loaded}, not {generation}")

    def search_now(self, queries: Sequence[ShardQuery]) -> ShardAnswer | None:
        """Answer a quick batch on the event loop, unless a write comes first or another search is at work."""
        if len(queries) * self._query_s > QUICK_S or self._host.is_behind():
            return None
        try:
            answer = self._host.search_now(queries, self._generation)
        except GenerationGone as error:
            raise GenerationMissing(str(error)) from error
        except UserError as error:
            raise ModelRefused(str(error)) from error
        if answer is None:
            return None
        found, seconds = answer
        self._learn(seconds / len(queries))
        return found

    def lone_now(self, query: ShardQuery) -> tuple[list[Id], list[float]] | None:
        """Answer the usual lone query on the event loop: without the arrays that many queries and shards take."""
        if query.with_payload or query.with_vectors or query.excluded or self._query_s > QUICK_S or self._host.is_behind():
            return None
        start_s = time.perf_counter()
        try:
            found = self._host.lone_now(query, self._generation)
        except GenerationGone as error:
            raise GenerationMissing(str(error)) from error
        if found is not None:
            self._learn(time.perf_counter() - start_s)
        return found

    async def search(self, queries: Sequence[ShardQuery], timeout_s: float) -> ShardAnswer:
        """Search several queries at once, in a thread."""
        await self._catch_up(timeout_s)
        return await self._run(lambda: self._timed(queries), timeout_s)

    async def read(self, request: Read, timeout_s: float) -> ReadAnswer:
        """Look up, list or count rows, or describe the shard."""
        await self._catch_up(timeout_s)
        return await self._run(lambda: self._host.read(request, self._generation), timeout_s)

    async def look(self, timeout_s: float) -> Sequence[ShardFacts | None]:
        """Have the host look at the pointer, and tell what it has."""
        self._host.tell()
        try:
            facts = await self._run(lambda: self._host.read(Describe()), timeout_s)
        except (ShardFailed, ShardTimeout):
            return [None]
        assert isinstance(facts, ShardFacts), "Describe is answered with facts"
        return [facts]

    async def sync(self, number: int, timeout_s: float) -> None:
        """Return when a log number is applied."""
        if self._host.applied < number:
            await self._run(lambda: self._host.sync(number, timeout_s), timeout_s)

    async def _catch_up(self, timeout_s: float) -> None:
        if self._host.is_behind():
            with suppress(ShardFailed):  # what is loaded goes on answering, and the host says why it does not follow
                await self._run(self._host.catch_up, timeout_s)

    def _timed(self, queries: Sequence[ShardQuery]) -> ShardAnswer:
        start_s = time.perf_counter()
        answer = self._host.search(queries, self._generation)
        self._learn((time.perf_counter() - start_s) / len(queries))
        return answer

    def _learn(self, seconds: float) -> None:
        self._query_s = FORGETTING * self._query_s + (1 - FORGETTING) * seconds

    async def _run(self, work: Callable[[], T], timeout_s: float) -> T:
        return await _answered(asyncio.get_running_loop().run_in_executor(self._executor, work), timeout_s)


async def _answered(work: Awaitable[T], timeout_s: float) -> T:
    """Await what a thread does; raises what a shard's client may raise."""
    try:
        async with asyncio.timeout(timeout_s):
            return await work
    except (TimeoutError, ShardBehind) as error:
        raise ShardTimeout(f"the shard did not answer within {timeout_s:.3g} s") from error
    except GenerationGone as error:
        raise GenerationMissing(str(error)) from error
    except (CorruptArtifact, ArtifactMissing) as error:
        raise ShardFailed(str(error)) from error
    except UserError as error:
        raise ModelRefused(str(error)) from error
    except ReelspaceError as error:
        raise ShardFailed(str(error)) from error
