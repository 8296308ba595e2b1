"""Shards inside the gateway's process: one host and one set of threads for all of them."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from reelspace.core.store import Store
from reelspace.search.access.local_shard import LocalShard
from reelspace.search.access.shard_client import ShardClient
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.storage.layout import Collection

NUM_THREADS: Final = 4


class LocalBackend:
    """Loads shards from the store when their collection is opened."""

    def __init__(self, store: Store, hosting: Hosting | None = None, num_threads: int = NUM_THREADS) -> None:
        """Start no thread yet.

        Args:
            num_threads: calls that are answered at a time; a wait for the log takes one, too.
        """
        self._store = store
        self._hosting = hosting
        self._executor = ThreadPoolExecutor(num_threads, thread_name_prefix="shard")
        self._hosts: dict[str, list[ShardHost]] = {}

    async def open(self, collection: Collection) -> Sequence[ShardClient]:
        """Load every shard of a collection; raises what ShardHost raises."""
        hosts = self._hosts.get(collection.full_name)
        if hosts is None:
            hosts = self._hosts[collection.full_name] = await asyncio.to_thread(self._load, collection)
        return [LocalShard(host, self._executor) for host in hosts]

    async def follow(self) -> None:
        """Stay: shards are here."""

    async def load(self, model: str, addresses: Sequence[str]) -> bool:
        """Load nothing: there are no servers."""
        return False

    async def unload(self, model: str, addresses: Sequence[str]) -> None:
        """Unload nothing either."""

    async def close(self, collection: Collection) -> None:
        """Stop a collection's shards."""
        for host in self._hosts.pop(collection.full_name, []):
            await asyncio.to_thread(host.close)

    async def close_all(self) -> None:
        """Stop every shard and the threads."""
        for hosts in [self._hosts.pop(name) for name in list(self._hosts)]:
            for host in hosts:
                await asyncio.to_thread(host.close)
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _load(self, collection: Collection) -> list[ShardHost]:
        hosts: list[ShardHost] = []
        try:
            for shard in range(collection.num_shards):
                hosts.append(ShardHost(self._store, collection, shard, self._hosting))
        except BaseException:
            for host in hosts:
                host.close()
            raise
        return hosts
