"""Shards as models of Triton servers: the promoted collection's at its generations, those of collections that clients made following."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from reelspace.core.errors import ReelspaceError
from reelspace.core.log import log
from reelspace.core.store import Store
from reelspace.search.access.replicas import ReplicaSettings, Told, untold
from reelspace.search.access.shard_client import ShardClient, ShardFailed
from reelspace.search.access.triton_shard import TritonShard
from reelspace.search.storage.followed import FOLLOWED_VERSION, followed_key
from reelspace.search.storage.layout import Collection, CurrentGenerations, collection_key, read_file, shard_model
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import read_or_default

LOAD_S: Final = 120.0
READY_S: Final = 5.0


class TritonBackend:
    """Finds the models by their names on every replica, and has those of collections that clients made loaded where they are not."""

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
            publish: writes the models of a collection that follow its pointer into the repository that the servers read.
        """
        self._store = store
        self._replicas = tuple(replicas)
        self._publish = publish
        self._settings = settings
        self._tell = tell
        self._open: dict[str, list[TritonShard]] = {}
        self._loading: set[asyncio.Task[str]] = set()

    async def open(self, collection: Collection) -> Sequence[ShardClient]:
        """Give clients of every shard's model.

        Raises:
            ArtifactMissing: the collection has no current generation.
            ShardFailed: no replica could load a model.
        """
        name = collection.full_name
        key = collection_key(name, "current.json")
        current = await asyncio.to_thread(read_file, self._store, CurrentGenerations, key)
        models = [shard_model(name, shard) for shard in range(collection.num_shards)]
        if not await self._is_client_made(name):
            return self._shards(name, {model: current.shards[str(shard)].generation for shard, model in enumerate(models)})
        await asyncio.to_thread(self._publish, self._store, collection)
        await self._load_somewhere(name, models)
        return self._shards(name, dict.fromkeys(models, FOLLOWED_VERSION))

    def _shards(self, full_name: str, generations: Mapping[str, int]) -> list[TritonShard]:
        self._let_go(full_name)
        made = [TritonShard(self._replicas, model, number, self._settings, self._tell) for model, number in generations.items()]
        self._open[full_name] = made
        return made

    def _let_go(self, full_name: str) -> None:
        for shard in self._open.pop(full_name, []):
            shard.close()

    async def close(self, collection: Collection) -> None:
        """Let go; the models of a collection that no name means any more are unloaded, others belong to every gateway."""
        self._let_go(collection.full_name)
        try:
            names = await asyncio.to_thread(read_or_default, self._store, Names, NAMES_KEY)
            if collection.full_name in names.collections.values() or not await self._follows(collection.full_name):
                return
        except ReelspaceError as error:
            log("models_not_unloaded", collection=collection.full_name, error=str(error))
            return
        for replica in self._replicas:
            for shard in range(collection.num_shards):
                model = shard_model(collection.full_name, shard)
                await _told(replica.unload_model(model, client_timeout=LOAD_S), f"unload {model}")

    def close_all(self) -> None:
        """Ask nothing more."""
        for full_name in list(self._open):
            self._let_go(full_name)

    async def _is_client_made(self, full_name: str) -> bool:
        names = await asyncio.to_thread(read_or_default, self._store, Names, NAMES_KEY)
        return full_name in names.collections.values() or await self._follows(full_name)

    async def _follows(self, full_name: str) -> bool:
        return await asyncio.to_thread(self._store.exists, followed_key(full_name, 0))

    async def _load_somewhere(self, full_name: str, models: Sequence[str]) -> None:
        """Return when a replica has the models, and the others have them too or took READY_S longer: those are asked when they have."""
        loading = [asyncio.create_task(self._load(replica, models)) for replica in self._replicas]
        self._loading.update(loading)
        for task in loading:
            task.add_done_callback(self._loading.discard)
        errors = []
        for ended in asyncio.as_completed(loading):
            error = await ended
            if not error:
                await asyncio.wait(loading, timeout=READY_S)
                return
            errors.append(error)
        raise ShardFailed(f"no Triton could load {full_name}: {errors[0]}")

    async def _load(self, replica: triton.InferenceServerClient, models: Sequence[str]) -> str:
        """Load what is not ready; gives what went wrong."""
        for model in models:
            error = await _told(self._load_one(replica, model), f"load {model}")
            if error:
                return error
        return ""

    async def _load_one(self, replica: triton.InferenceServerClient, model: str) -> None:
        if not await replica.is_model_ready(model, str(FOLLOWED_VERSION), client_timeout=READY_S):
            await replica.load_model(model, client_timeout=LOAD_S)


async def _told(call: Awaitable[Any], what: str) -> str:
    """Await a call of a server; what went wrong is logged and given, for the other replicas serve."""
    try:
        await call
    except InferenceServerException as error:
        message = " ".join(str(error.message()).split())[:300]
        log("triton_refused", what=what, error=message)
        return message
    return ""
