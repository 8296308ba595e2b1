"""The Qdrant dialect and the V2 protocol over gRPC, served beside HTTP in the same process and event loop."""

import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from reelspace.gateway.grpc_application import GrpcApplication
from reelspace.gateway.grpc_server import GrpcServer
from reelspace.gateway.guard import Guard
from reelspace.gateway.records import Records
from reelspace.gateway.settings import GatewaySettings
from reelspace.search.access.messages.call import Method
from reelspace.search.access.seen_collections import SeenCollections


@dataclass(frozen=True, slots=True)
class GrpcDoor:
    """A listening socket for gRPC, and TLS for it, None without."""

    listener: socket.socket
    tls: ssl.SSLContext | None = None


@asynccontextmanager
async def serving_grpc(
    door: GrpcDoor | None,
    catalog: Callable[[], SeenCollections],
    v2: Mapping[str, Method],
    guard: Guard,
    records: Records,
    settings: GatewaySettings,
) -> AsyncIterator[None]:
    """Serve, None for not at all, until the context ends and running calls with it.

    Args:
        v2: the methods of the V2 protocol by path, none where it is not served.
    """
    if door is None:
        yield
        return
    # Delays qdrant_client, whose messages only gRPC needs: 0.8 s and 33 MB.
    from reelspace.search.access.messages.methods import dialect_methods, dialect_methods_now

    limits = settings.http2
    methods = {path: guard.admitted(method) for path, method in {**dialect_methods(catalog), **v2}.items()}
    # A key's requests are counted where they wait, so none is answered before.
    methods_now = dialect_methods_now(catalog) if guard.is_open else {}
    server = GrpcServer(GrpcApplication(methods, limits.max_body_bytes, records.answered_call, methods_now), limits)
    await server.start(door.listener, door.tls)
    try:
        yield
    finally:
        await server.stop(settings.shutdown_s)
