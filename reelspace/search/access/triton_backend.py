"""Shards as models of Triton servers, at the generations that are current when their collection is opened."""

import asyncio
from collections.abc import Sequence

import tritonclient.grpc.aio as triton

from reelspace.core.store import Store
from reelspace.search.access.shard_client import ShardClient
from reelspace.search.access.triton_shard import TritonShard
from reelspace.search.storage.layout import Collection, CurrentGenerations, collection_key, read_file, shard_model


class TritonBackend:
    """Finds the models by their names; loading them is for whoever runs the servers."""

    def __init__(self, store: Store, replicas: Sequence[triton.InferenceServerClient]) -> None:
        self._store = store
        self._replicas = tuple(replicas)

    async def open(self, collection: Collection) -> Sequence[ShardClient]:
        """Give clients of every shard's model; ArtifactMissing if the collection has no current generation."""
        key = collection_key(collection.full_name, "current.json")
        current = await asyncio.to_thread(read_file, self._store, CurrentGenerations, key)
        models = [shard_model(collection.full_name, shard) for shard in range(collection.num_shards)]
        return [TritonShard(self._replicas, model, current.shards[str(shard)].generation) for shard, model in enumerate(models)]

    async def close(self, collection: Collection) -> None:
        """Let go: the models belong to the servers."""
