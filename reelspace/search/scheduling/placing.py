"""Moves shards between groups of servers, one at a time: loaded where it goes first, then placed there, and unloaded when nobody asks."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from reelspace.core.log import log
from reelspace.core.store import Store
from reelspace.search.storage.known import read_known
from reelspace.search.storage.layout import collection_key, read_collection, shard_model
from reelspace.search.storage.placement import PLACEMENT_KEY, Placement, read_placement
from reelspace.search.storage.replaced_file import replace_file

SETTLED_S: Final = 60.0
"""So long after the last change every gateway asks the servers that have a shard by then."""


class GroupServers(Protocol):
    """What is done to the servers of a group."""

    async def load(self, model: str, addresses: Sequence[str]) -> bool:
        """Have servers load a shard; tells whether one has it now."""

    async def unload(self, model: str, addresses: Sequence[str]) -> None:
        """Have servers unload a shard."""


class Placer:
    """Takes the placement a step further. Belongs to one event loop."""

    def __init__(self, store: Store, servers: GroupServers, settled_s: float = SETTLED_S) -> None:
        """Begin nothing.

        Args:
            settled_s: seconds after a change until servers unload what they do not have to have.
        """
        self._store, self._servers, self._settled_s = store, servers, settled_s
        self._num_shards: dict[str, int] = {}
        self._seen: tuple[int, float] | None = None
        self._tidied: int | None = None

    async def step(self) -> bool:
        """Move a shard, or tidy up; tells whether more is about to come.

        Raises:
            ReelspaceError: the store does not answer; nothing is lost.
        """
        placement = await asyncio.to_thread(read_placement, self._store)
        if not placement.groups:
            return False
        models = await asyncio.to_thread(self._models)
        move = placement.next_move(models)
        if move is not None:
            return await self._move(placement, *move)
        if self._is_settled(placement) and self._tidied != placement.version:
            await self._tidy(placement, models)
        return False

    async def _move(self, placement: Placement, model: str, group: str) -> bool:
        if not await self._servers.load(model, placement.groups[group].addresses):
            log("shard_not_loaded", model=model, group=group)
            return False
        await self._replace(placement, placement.moved(model, group))
        log("shard_moved", model=model, group=group)
        return True

    async def _tidy(self, placement: Placement, models: set[str]) -> None:
        """Unload shards where they are no more, and forget groups that have left."""
        for name, group in placement.groups.items():
            for model in sorted(models):
                if placement.shards.get(model) not in (None, name):
                    await self._servers.unload(model, group.addresses)
        await self._replace(placement, placement.without_gone(models))
        self._tidied = placement.version

    async def _replace(self, before: Placement, after: Placement) -> None:
        """Write a placement, unless another was written meanwhile: then the next step sees that."""
        await asyncio.to_thread(
            replace_file, self._store, Placement, PLACEMENT_KEY, lambda found: after if found.version == before.version else found
        )

    def _is_settled(self, placement: Placement) -> bool:
        now_s = asyncio.get_running_loop().time()
        if self._seen is None or self._seen[0] != placement.version:
            self._seen = placement.version, now_s
        return now_s - self._seen[1] >= self._settled_s

    def _models(self) -> set[str]:
        """Name the models of all shards of collections that have a name, or are about to."""
        full_names = [name for name in read_known(self._store).wanted() if self._store.exists(collection_key(name))]
        self._num_shards = {name: self._num_shards.get(name) or read_collection(self._store, name).num_shards for name in full_names}
        return {shard_model(name, shard) for name, num in self._num_shards.items() for shard in range(num)}
