"""Which generations of a collection's shards are asked: those that one pointer names, all of them from the same moment on.

Shards load what the pointer names whenever they come to it. A gateway goes over to the generations of a pointer when every shard has
its own of them, and asks each shard for exactly that one, so an answer is never made of rows of two pointers. A pointer whose
generations are named no more is waited for no longer: a shard that was started meanwhile never loads them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from reelspace.core.errors import ArtifactMissing
from reelspace.core.store import Store
from reelspace.search.access.deadline import Deadline
from reelspace.search.access.shard_client import GenerationMissing, ShardClient, ShardTimeout
from reelspace.search.access.together import together
from reelspace.search.storage.layout import Collection, CurrentGenerations, read_current

PREPARE_S: Final = 120.0
LOOK_S: Final = 1.0
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

    async def ask(self, call: Callable[[float], Awaitable[T]], timeout_s: float) -> T:
        """Give what a call of the view gives; one that comes late for its generations is made again in the next view.

        Where the pointer still names what a shard does not have, which was begun or reloaded as the pointer changed, it is waited for.

        Args:
            call: asks the view within so many seconds.

        Raises:
            ShardTimeout: the shards did not come to the next view within timeout_s.
            Exception: whatever else the call raises.
        """
        deadline = Deadline(timeout_s)
        for _ in range(NUM_TRIES - 1):
            try:
                return await call(deadline.left_s)
            except GenerationMissing as error:
                await self._follow_within(deadline, timeout_s, error)
        return await call(deadline.left_s)

    async def _follow_within(self, deadline: Deadline, timeout_s: float, missing: GenerationMissing) -> None:
        try:
            async with asyncio.timeout(deadline.left_s):
                before = self.view
                await self.follow()
                if self.view is before:
                    await self._prepare_again(before, deadline)
        except TimeoutError:
            raise ShardTimeout(f"{missing}; no newer one could be asked within {timeout_s:.3g} s") from missing

    async def _prepare_again(self, view: View, deadline: Deadline) -> None:
        generations = view.generations or (0,) * len(self._shards)
        wanted = [(shard, number) for shard, number in zip(self._shards, generations, strict=True) if number]
        with suppress(GenerationMissing):  # the pointer has moved on meanwhile
            await together([shard.prepare(number, deadline.left_s) for shard, number in wanted])

    async def _look(self) -> None:
        pointer = await self._pointer()
        while pointer is not None and pointer.version != self.view.version:
            view = View.of(pointer, self._shards)
            prepare = [shard.prepare(number, PREPARE_S) for shard, number in zip(self._shards, view.generations, strict=True)]
            if await self._is_prepared(together(prepare), view):
                self._go_over(view)
                return
            pointer = await self._pointer()

    async def _is_prepared(self, preparing: Coroutine[Any, Any, object], view: View) -> bool:
        """Wait until shards have the generations of a view; False as soon as a pointer names one of these no more."""
        task = asyncio.ensure_future(preparing)
        try:
            while not (await asyncio.wait([task], timeout=LOOK_S))[0]:
                pointer = await self._pointer()
                if pointer is None or not _names(pointer, view):
                    return False
            await task
            return True
        finally:
            task.cancel()

    async def _pointer(self) -> CurrentGenerations | None:
        """Read the pointer; None while the collection is being made, and when it is gone."""
        try:
            return await asyncio.to_thread(read_current, self._store, self._collection.full_name, len(self._shards))
        except ArtifactMissing:
            return None

    def _go_over(self, view: View) -> None:
        self._on_change(view)
        self.view = view


def _names(pointer: CurrentGenerations, view: View) -> bool:
    """Tell whether shards are still to have the generations of a view."""
    return all(
        any(str(shard) in states and states[str(shard)].generation == number for states in (pointer.shards, pointer.beside))
        for shard, number in enumerate(view.generations)
    )
