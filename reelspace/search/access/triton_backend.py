"""Shards as models of Triton servers, which follow the pointers of their collections; the placement says which servers have a shard."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import tritonclient.grpc.aio as triton

from reelspace.core.errors import ReelspaceError
from reelspace.core.log import log
from reelspace.core.store import Store
from reelspace.search.access.replicas import ReplicaSettings
from reelspace.search.access.shard_client import ShardClient, ShardFailed, ShardTimeout
from reelspace.search.access.triton_servers import READY_S, TritonServers, load_model, unload_model
from reelspace.search.access.triton_shard import ShardServers, TritonShard
from reelspace.search.storage.known import read_known
from reelspace.search.storage.layout import Collection, CurrentGenerations, collection_key, read_file, shard_model
from reelspace.search.storage.placement import Placement, place, read_placement

MOVE_S: Final = 60.0


class TritonBackend:
    """Finds the models by their names on the servers that have them, and has them loaded where they are not."""

    def __init__(
        self,
        store: Store,
        servers: TritonServers,
        publish: Callable[[Store, Collection], object],
        settings: ReplicaSettings | None = None,
    ) -> None:
        """Ask nothing yet.

        Args:
            publish: writes the models of a collection into the repository that the servers read.
        """
        self._store = store
        self._servers = servers
        self._publish = publish
        self._settings = settings
        self._open: dict[str, dict[str, ShardServers]] = {}
        self._loading: set[asyncio.Task[bool]] = set()
        self._placement_version = 0

    async def open(self, collection: Collection) -> Sequence[ShardClient]:
        """Give clients of every shard's model; a server that cannot load one now is asked when it can.

        Raises:
            ArtifactMissing: the collection has no current generation.
        """
        name = collection.full_name
        await asyncio.to_thread(read_file, self._store, CurrentGenerations, collection_key(name, "current.json"))
        models = [shard_model(name, shard) for shard in range(collection.num_shards)]
        await asyncio.to_thread(self._publish, self._store, collection)
        placement = await asyncio.to_thread(place, self._store, models)
        where = {model: self._addresses(placement, model) for model in models}
        await self._load_somewhere(where)
        self._let_go(name)
        self._open[name] = {model: ShardServers(self._servers, addresses, model, self._settings) for model, addresses in where.items()}
        return [TritonShard(servers) for servers in self._open[name].values()]

    async def follow(self) -> None:
        """Go over to the servers that have shards now, each once these have all that was waited for; one that cannot now, later."""
        placement = await asyncio.to_thread(read_placement, self._store)
        if placement.version == self._placement_version:
            return
        moves = [(servers, self._addresses(placement, model)) for shards in self._open.values() for model, servers in shards.items()]
        moves = [(servers, addresses) for servers, addresses in moves if servers.addresses != addresses]
        if all(await asyncio.gather(*(self._moved(servers, addresses) for servers, addresses in moves))):
            self._placement_version = placement.version

    async def close(self, collection: Collection) -> None:
        """Let go; the models of a collection that no name means any more are unloaded, others belong to every gateway."""
        self._let_go(collection.full_name)
        try:
            if (await asyncio.to_thread(read_known, self._store)).wants(collection.full_name):
                return
            placement = await asyncio.to_thread(read_placement, self._store)
        except ReelspaceError as error:
            log("models_not_unloaded", collection=collection.full_name, error=str(error))
            return
        for shard in range(collection.num_shards):
            model = shard_model(collection.full_name, shard)
            for server in self._servers.clients(self._addresses(placement, model)):
                await unload_model(server, model)

    def close_all(self) -> None:
        """Ask nothing more."""
        for full_name in list(self._open):
            self._let_go(full_name)

    async def load(self, model: str, addresses: Sequence[str]) -> bool:
        """Have servers load a shard; tells whether one has it now."""
        loaded = await asyncio.gather(*(self._load(server, [model]) for server in self._servers.clients(addresses)))
        return any(loaded)

    async def unload(self, model: str, addresses: Sequence[str]) -> None:
        """Have servers unload a shard."""
        for server in self._servers.clients(addresses):
            await unload_model(server, model)

    def _addresses(self, placement: Placement, model: str) -> tuple[str, ...]:
        return placement.addresses(model) or self._servers.addresses

    async def _moved(self, servers: ShardServers, addresses: tuple[str, ...]) -> bool:
        try:
            await servers.move(addresses, MOVE_S)
        except (ShardFailed, ShardTimeout) as error:
            log("shard_not_moved", addresses=list(addresses), error=str(error))
            return False
        return True

    def _let_go(self, full_name: str) -> None:
        for shard in self._open.pop(full_name, {}).values():
            shard.close()

    async def _load_somewhere(self, where: dict[str, tuple[str, ...]]) -> None:
        """Return when a server of each shard has it, and the others have it too or took READY_S longer, or when none can have it."""
        models_of: dict[str, list[str]] = {}
        for model, addresses in where.items():
            for address in addresses:
                models_of.setdefault(address, []).append(model)
        loading = {
            address: asyncio.create_task(self._load(self._servers.clients([address])[0], models)) for address, models in models_of.items()
        }
        self._loading.update(loading.values())
        for task in loading.values():
            task.add_done_callback(self._loading.discard)
        open_groups = {addresses for addresses in where.values() if addresses}
        while open_groups and (running := {task for task in loading.values() if not task.done()}):
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            open_groups = {group for group in open_groups if not any(_has_loaded(loading[address]) for address in group)}
        if running := {task for task in loading.values() if not task.done()}:
            await asyncio.wait(running, timeout=READY_S)

    async def _load(self, server: triton.InferenceServerClient, models: Sequence[str]) -> bool:
        """Load what is not ready; tells whether all of it is now."""
        try:
            for model in models:
                await load_model(server, model)
        except ShardFailed as error:
            log("not_loaded", error=str(error))
            return False
        return True


def _has_loaded(task: "asyncio.Task[bool]") -> bool:
    return task.done() and not task.cancelled() and task.result()
