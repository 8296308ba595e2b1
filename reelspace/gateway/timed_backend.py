"""Shards whose searches are timed."""

import time
from collections.abc import Callable, Sequence

from reelspace.search.access.backend import Backend
from reelspace.search.access.shard_client import ShardClient
from reelspace.search.compute.queries import Read, ReadAnswer, ShardAnswer, ShardFacts, ShardQuery
from reelspace.search.storage.ids import Id
from reelspace.search.storage.layout import Collection


class TimedBackend:
    """A backend whose shards tell how many seconds each of their searches took, failed ones too."""

    def __init__(self, backend: Backend, told: Callable[[float], None]) -> None:
        self._backend = backend
        self._told = told

    async def open(self, collection: Collection) -> Sequence[ShardClient]:
        """Give a client of every shard."""
        return [_TimedShard(shard, self._told) for shard in await self._backend.open(collection)]

    async def follow(self) -> None:
        """Go over to other servers, where shards were given to them."""
        await self._backend.follow()

    async def load(self, model: str, addresses: Sequence[str]) -> bool:
        """Have servers load a shard."""
        return await self._backend.load(model, addresses)

    async def unload(self, model: str, addresses: Sequence[str]) -> None:
        """Have servers unload a shard."""
        await self._backend.unload(model, addresses)

    async def close(self, collection: Collection) -> None:
        """Let go of a collection."""
        await self._backend.close(collection)


class _TimedShard:
    def __init__(self, shard: ShardClient, told: Callable[[float], None]) -> None:
        self._shard = shard
        self._told = told

    def at(self, generation: int) -> "_TimedShard":
        return _TimedShard(self._shard.at(generation), self._told)

    async def prepare(self, generation: int, timeout_s: float) -> None:
        await self._shard.prepare(generation, timeout_s)

    async def search(self, queries: Sequence[ShardQuery], timeout_s: float) -> ShardAnswer:
        start_s = time.perf_counter()
        try:
            return await self._shard.search(queries, timeout_s)
        finally:
            self._told(time.perf_counter() - start_s)

    def search_now(self, queries: Sequence[ShardQuery]) -> ShardAnswer | None:
        start_s = time.perf_counter()
        answer = None
        try:
            answer = self._shard.search_now(queries)
        finally:
            if answer is not None:
                self._told(time.perf_counter() - start_s)
        return answer

    def lone_now(self, query: ShardQuery) -> tuple[list[Id], list[float]] | None:
        start_s = time.perf_counter()
        found = self._shard.lone_now(query)
        if found is not None:
            self._told(time.perf_counter() - start_s)
        return found

    async def read(self, request: Read, timeout_s: float) -> ReadAnswer:
        return await self._shard.read(request, timeout_s)

    async def look(self, timeout_s: float) -> Sequence[ShardFacts | None]:
        return await self._shard.look(timeout_s)

    async def sync(self, number: int, timeout_s: float) -> None:
        await self._shard.sync(number, timeout_s)
