"""Shards as models of Triton servers, which follow the pointers of their collections."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from reelspace.core.errors import ReelspaceError
from reelspace.core.log import log
from reelspace.core.store import Store
from reelspace.search.access.known import read_known
from reelspace.search.access.replicas import ReplicaSettings, Told, untold
from reelspace.search.access.shard_client import ShardClient, ShardFailed
from reelspace.search.access.triton_shard import ShardServers, TritonShard
from reelspace.search.storage.followed import FOLLOWED_VERSION
from reelspace.search.storage.layout import Collection, CurrentGenerations, collection_key, read_file, shard_model

LOAD_S: Final = 120.0
READY_S: Final = 5.0


class TritonBackend:
    """Finds the models by their names on every replica, and has them loaded where they are not."""

    def __init__(
        self,
        store: Store,
        replicas: Sequence[triton.InferenceServerClient],
        publish: Callable[[Store, Collection], object],
        settings: ReplicaSettings | None = None,
        tell: Told = untold,
    ) -> None:
        """Ask nothing yet.

        Args:
            replicas: servers each of which has every shard.
            publish: writes the models of a collection into the repository that the servers read.
        """
        self._store = store
        self._replicas = tuple(replicas)
        self._publish = publish
        self._settings = settings
        self._tell = tell
        self._open: dict[str, list[ShardServers]] = {}
        self._loading: set[asyncio.Task[bool]] = set()

    async def open(self, collection: Collection) -> Sequence[ShardClient]:
        """Give clients of every shard's model; a server that cannot load one now is asked when it can.

        Raises:
            ArtifactMissing: the collection has no current generation.
        """
        name = collection.full_name
        await asyncio.to_thread(read_file, self._store, CurrentGenerations, collection_key(name, "current.json"))
        models = [shard_model(name, shard) for shard in range(collection.num_shards)]
        await asyncio.to_thread(self._publish, self._store, collection)
        await self._load_somewhere(models)
        self._let_go(name)
        self._open[name] = [ShardServers(self._replicas, model, load_model, self._settings, self._tell) for model in models]
        return [TritonShard(servers) for servers in self._open[name]]

    def _let_go(self, full_name: str) -> None:
        for shard in self._open.pop(full_name, []):
            shard.close()

    async def close(self, collection: Collection) -> None:
        """Let go; the models of a collection that no name means any more are unloaded, others belong to every gateway."""
        self._let_go(collection.full_name)
        try:
            if (await asyncio.to_thread(read_known, self._store)).wants(collection.full_name):
                return
        except ReelspaceError as error:
            log("models_not_unloaded", collection=collection.full_name, error=str(error))
            return
        for replica in self._replicas:
            for shard in range(collection.num_shards):
                model = shard_model(collection.full_name, shard)
                await _unload(replica, model)

    def close_all(self) -> None:
        """Ask nothing more."""
        for full_name in list(self._open):
            self._let_go(full_name)

    async def _load_somewhere(self, models: Sequence[str]) -> None:
        """Return when a replica has the models, and the others have them too or took READY_S longer, or when none can have them."""
        loading = [asyncio.create_task(self._load(replica, models)) for replica in self._replicas]
        self._loading.update(loading)
        for task in loading:
            task.add_done_callback(self._loading.discard)
        for ended in asyncio.as_completed(loading):
            if await ended:
                await asyncio.wait(loading, timeout=READY_S)
                return

    async def _load(self, replica: triton.InferenceServerClient, models: Sequence[str]) -> bool:
        """Load what is not ready; tells whether all of it is now."""
        try:
            for model in models:
                await load_model(replica, model)
        except ShardFailed as error:
            log("not_loaded", error=str(error))
            return False
        return True


async def load_model(replica: triton.InferenceServerClient, model: str) -> None:
    """Have a server load a shard's model if it is not ready there; ShardFailed if that fails."""
    try:
        if not await replica.is_model_ready(model, str(FOLLOWED_VERSION), client_timeout=READY_S):
            await replica.load_model(model, client_timeout=LOAD_S)
    except InferenceServerException as error:
        raise ShardFailed(f"{model}: {_message(error)}") from error


async def _unload(replica: triton.InferenceServerClient, model: str) -> None:
    try:
        await replica.unload_model(model, client_timeout=LOAD_S)
    except InferenceServerException as error:
        log("not_unloaded", model=model, error=_message(error))


def _message(error: InferenceServerException) -> str:
    return " ".join(str(error.message()).split())[:300]
