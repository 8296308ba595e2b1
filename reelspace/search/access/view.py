"""Which generations of a collection's shards are asked: those that one pointer names, all of them from the same moment on.

Shards load what the pointer names whenever they come to it. A gateway goes over to the generations of a pointer when every shard has
its own of them, and asks each shard for exactly that one, so an answer is never made of rows of two pointers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from reelspace.core.errors import ArtifactMissing
from reelspace.core.store import Store
from reelspace.search.access.shard_client import GenerationMissing, ShardClient
from reelspace.search.access.together import together
from reelspace.search.storage.layout import Collection, CurrentGenerations, read_current

PREPARE_S: Final = 120.0
NUM_TRIES: Final = 5
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class View:
    """What one pointer names: the clients of the generations of all shards, and their numbers; version 0: whatever is current."""

    version: int
    generations: tuple[int, ...]
    shards: tuple[ShardClient, ...]

    @classmethod
    def of(cls, pointer: CurrentGenerations, shards: Sequence[ShardClient]) -> "View":
        """Give the view of a pointer over clients that are bound to no generation."""
        generations = tuple(pointer.shards[str(shard)].generation for shard in range(len(shards)))
        bound = tuple(shard.at(generation) for shard, generation in zip(shards, generations, strict=True))
        return cls(pointer.version, generations, bound)


class FollowedView:
    """The view of one collection, as its pointer changes. Belongs to one event loop."""

    def __init__(self, store: Store, collection: Collection, shards: Sequence[ShardClient], on_change: Callable[[View], None]) -> None:
        """Ask whatever is current until the pointer is looked at.

        Args:
            on_change: hears of every new view, before it is asked.
        """
        self._store = store
        self._collection = collection
        self._shards = tuple(shards)
        self._on_change = on_change
        self._looking: asyncio.Task[None] | None = None
        self.view = View(0, (), self._shards)

    async def begin(self) -> None:
        """Ask for what the pointer names, which shards have when they are loaded at all; raises what reading it raises."""
        pointer = await self._pointer()
        if pointer is not None:
            self._go_over(View.of(pointer, self._shards))

    async def follow(self) -> None:
        """Look at the pointer, and go over to what it names once every shard has it.

        Raises:
            ShardFailed, ShardTimeout: a shard does not have it; the view stays as it is.
            CorruptArtifact, StoreUnavailable: the pointer cannot be read.
        """
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())
        await asyncio.shield(self._looking)

    async def ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """Give what a call of the view gives; one that comes late for its generations is made again in the next view."""
        for _ in range(NUM_TRIES - 1):
            try:
                return await call()
            except GenerationMissing:
                await self.follow()
        return await call()

    async def _look(self) -> None:
        pointer = await self._pointer()
        if pointer is None or pointer.version == self.view.version:
            return
        view = View.of(pointer, self._shards)
        await together([shard.prepare(number, PREPARE_S) for shard, number in zip(self._shards, view.generations, strict=True)])
        self._go_over(view)

    async def _pointer(self) -> CurrentGenerations | None:
        """Read the pointer; None while the collection is being made, and when it is gone."""
        try:
            return await asyncio.to_thread(read_current, self._store, self._collection.full_name, len(self._shards))
        except ArtifactMissing:
            return None

    def _go_over(self, view: View) -> None:
        self._on_change(view)
        self.view = view
