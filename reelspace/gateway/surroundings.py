"""Connects a gateway with what it stands in front of, for as long as it serves: shards, here or on Triton, and encoders."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

import tritonclient.grpc.aio as triton

from reelspace.core.store import Store
from reelspace.gateway.settings import GatewaySettings
from reelspace.search.access.backend import Surroundings
from reelspace.search.access.local_backend import LocalBackend
from reelspace.search.access.targets import Encoder
from reelspace.search.access.text_encoder import MODEL, TextEncoder
from reelspace.search.access.triton_backend import TritonBackend
from reelspace.search.access.triton_shard import CHANNEL_OPTIONS
from reelspace.search.storage.layout import SpacePointer

Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[Surroundings]]
"""Makes the connections in the event loop that will use them; they end with the context."""


def connector(settings: GatewaySettings, store: Store) -> Connect:
    """Give what connects a gateway as its settings say."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[Surroundings]:
        # A gRPC channel belongs to the event loop that it is made in.
        client = settings.triton_grpc and triton.InferenceServerClient(settings.triton_grpc, channel_args=CHANNEL_OPTIONS)
        local = LocalBackend(store) if settings.backend == "local" else None
        try:
            yield Surroundings(local or TritonBackend(store, [client]), lambda pointer: _encoders(client, pointer))
        finally:
            if local:
                await local.close_all()
            if client:
                await client.close()

    return connect


def _encoders(client: triton.InferenceServerClient | None, pointer: SpacePointer) -> Mapping[str, Encoder]:
    version = pointer.encoders.get(MODEL)
    return {} if client is None or version is None else {MODEL: TextEncoder(client, version, pointer.space_id)}
