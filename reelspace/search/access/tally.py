"""What the shards of a collection hold, as each last told: for the coverage of answers and the description of the collection."""

import asyncio
import math
from collections.abc import Sequence
from typing import Final

from reelspace.core.errors import ReelspaceError
from reelspace.core.store import Store
from reelspace.search.access.results import Coverage
from reelspace.search.access.shard_client import ShardClient
from reelspace.search.access.view import View
from reelspace.search.compute.queries import Describe, ShardFacts
from reelspace.search.storage.layout import (
    Collection,
    CurrentGenerations,
    ShardManifest,
    collection_key,
    generation_key,
    read_current,
    read_file,
)

FRESH_S: Final = 1.0
_PATIENCE_S: Final = 2.0
_NOTHING: Final = ShardFacts(0, 0, 0, 0, 0)


def sealed_facts(store: Store, collection: Collection) -> list[ShardFacts]:
    """Give what the current generations hold, before any shard was asked; nothing where there are none."""
    key = collection_key(collection.full_name, "current.json")
    if not store.exists(key):
        return [_NOTHING] * collection.num_shards
    current = read_current(store, collection.full_name, collection.num_shards)
    return [_sealed(store, collection, shard, current) for shard in range(collection.num_shards)]


def _sealed(store: Store, collection: Collection, shard: int, current: CurrentGenerations) -> ShardFacts:
    generation = current.shards[str(shard)].generation
    manifest = read_file(store, ShardManifest, generation_key(collection.full_name, shard, generation, "manifest.json"))
    return ShardFacts(manifest.num_rows, manifest.num_rows, manifest.contains_log, generation, 0)


class Tally:
    """The facts of every shard; asks again in the background when it is asked and they are older than FRESH_S."""

    def __init__(self, shards: Sequence[ShardClient]) -> None:
        self._shards = tuple(shards)
        self._facts = [_NOTHING] * len(shards)
        self._changed_s = [-math.inf] * len(shards)
        self._whole: Coverage | None = None
        self._asked_s = -FRESH_S
        self._asking: asyncio.Task[None] | None = None

    def use(self, view: View) -> None:
        """Ask the generations of a view from now on."""
        self._shards = view.shards
        self.expire()

    def begin(self, facts: Sequence[ShardFacts]) -> None:
        """Take what is known before any shard was asked."""
        self._facts, self._whole = list(facts), None

    @property
    def facts(self) -> tuple[ShardFacts, ...]:
        """Give what each shard last told."""
        return tuple(self._facts)

    def is_quiet(self, shard: int, seconds: float) -> bool:
        """Tell whether a shard has told of no change for so long."""
        return asyncio.get_running_loop().time() - self._changed_s[shard] >= seconds

    def coverage(self, missing_shards: tuple[int, ...] = (), generations: tuple[int, ...] = ()) -> Coverage:
        """Give the coverage of an answer without some shards, of given generations, or else those that shards told of."""
        self._ask_if_old()
        if self._whole is None:
            num_rows = sum(facts.num_rows for facts in self._facts)
            self._whole = Coverage(num_rows, num_rows, tuple(facts.generation for facts in self._facts))
        if not missing_shards and generations in ((), self._whole.generations):
            return self._whole
        answered = sum(facts.num_rows for shard, facts in enumerate(self._facts) if shard not in missing_shards)
        return Coverage(answered, self._whole.of, generations or self._whole.generations, missing_shards)

    async def refresh(self, timeout_s: float = _PATIENCE_S) -> None:
        """Ask every shard; of one that does not answer the last facts stay."""
        await asyncio.gather(*(self._ask(shard, timeout_s) for shard in range(len(self._shards))))

    def expire(self) -> None:
        """Let the next answer ask the shards again."""
        self._asked_s = -FRESH_S

    def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()

    def _ask_if_old(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._asked_s + FRESH_S or (self._asking is not None and not self._asking.done()):
            return
        self._asked_s = loop.time()
        self._asking = loop.create_task(self.refresh())

    async def _ask(self, shard: int, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                facts = await self._shards[shard].read(Describe(), timeout_s)
        except (ReelspaceError, TimeoutError):
            return
        assert isinstance(facts, ShardFacts), "Describe is answered with facts"
        if facts != self._facts[shard]:
            if facts.applied != self._facts[shard].applied:
                self._changed_s[shard] = asyncio.get_running_loop().time()
            self._facts[shard] = facts
            self._whole = None
