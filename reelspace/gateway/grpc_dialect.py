"""The Qdrant dialect over gRPC, served beside HTTP in the same process and event loop."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from reelspace.gateway.grpc_application import GrpcApplication
from reelspace.gateway.grpc_server import GrpcServer
from reelspace.gateway.metrics import Metrics
from reelspace.gateway.settings import GatewaySettings
from reelspace.search.access.catalog import Catalog


@asynccontextmanager
async def serving_grpc(
    listener: socket.socket | None, catalog: Callable[[], Catalog], settings: GatewaySettings, metrics: Metrics
) -> AsyncIterator[None]:
    """Serve on a listening socket, None for not at all, until the context ends and running calls with it."""
    if listener is None:
        yield
        return
    # Delays qdrant_client, whose messages only gRPC needs: 0.8 s and 33 MB.
    from reelspace.search.access.messages.methods import dialect_methods

    limits = settings.http2
    server = GrpcServer(GrpcApplication(dialect_methods(catalog), limits.max_body_bytes, metrics.count_call), limits)
    await server.start(listener)
    try:
        yield
    finally:
        await server.stop(settings.shutdown_s)
