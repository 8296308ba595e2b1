"""Connects a gateway with what it stands in front of, for as long as it serves: shards, here or on Triton, and encoders."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

from reelspace.core.local_store import LocalStore
from reelspace.core.store import Store
from reelspace.gateway.settings import GatewaySettings
from reelspace.search.access.backend import Surroundings
from reelspace.search.access.local_backend import LocalBackend
from reelspace.search.access.no_backend import NoBackend
from reelspace.search.access.replicas import Event
from reelspace.search.access.targets import Encoder
from reelspace.search.access.text_encoder import MODEL, TextEncoder
from reelspace.search.access.triton_backend import TritonBackend
from reelspace.search.access.triton_servers import TritonServers
from reelspace.search.compute.generation import Placement
from reelspace.search.compute.host import Hosting
from reelspace.search.scheduling.repository import publish_followed
from reelspace.search.storage.layout import SpacePointer

Tell: TypeAlias = Callable[[str, Event], None]
"""Hears what becomes of servers of shards: the address of one, and the event."""
Connect: TypeAlias = Callable[[Tell], AbstractAsyncContextManager[Surroundings]]
"""Makes the connections in the event loop that will use them; they end with the context."""


def connector(settings: GatewaySettings, store: Store) -> Connect:
    """Give what connects a gateway as its settings say."""

    @asynccontextmanager
    async def connect(tell: Tell) -> AsyncIterator[Surroundings]:
        servers = TritonServers(settings.tritons, tell)
        local = LocalBackend(store, _hosting(settings, store)) if settings.backend == "local" else None

        def encoders(pointer: SpacePointer) -> Mapping[str, Encoder]:
            addresses = settings.encoders_grpc or servers.addresses
            version, clients = pointer.encoders.get(MODEL), servers.clients(addresses)
            if not clients or version is None:
                return {}
            return {MODEL: TextEncoder(clients, version, pointer.space_id, settings.replicas, servers.told(addresses))}

        remote = TritonBackend(store, servers, publish_followed, settings.replicas)
        try:
            yield Surroundings(NoBackend() if settings.backend == "none" else local or remote, encoders)
        finally:
            remote.close_all()
            if local:
                await local.close_all()
            await servers.close()

    return connect


def _hosting(settings: GatewaySettings, store: Store) -> Hosting:
    # A look at a directory costs microseconds; at another store it would cost more than a search, and the poll has to do.
    placement = Placement(mapped_in=None if settings.mapped_in is None else Path(settings.mapped_in))
    return Hosting(placement, looks_first=settings.share_ports and isinstance(store, LocalStore))
