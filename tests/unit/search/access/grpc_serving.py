"""A gateway with both its faces on ports of this machine, in a thread of this process, over oracle shards."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import uvicorn
import uvloop

from reelspace.core.store import Store
from reelspace.gateway.app import create_app
from reelspace.gateway.server import Server
from reelspace.gateway.settings import GatewaySettings

from ..oracle_shard import OracleBackend, create_without_generations
from .serving import connect_to


@dataclass(frozen=True)
class Served:
    url: str
    port: int
    backend: OracleBackend


@contextmanager
def serving_both(store: Store) -> Iterator[Served]:
    """Serve a store over HTTP and gRPC."""
    backend = OracleBackend(store)
    with (
        pytest.MonkeyPatch.context() as patch,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_server(("127.0.0.1", 0)) as grpc_listener,
    ):
        patch.setattr("reelspace.gateway.app.create_collection", create_without_generations)
        app = create_app(GatewaySettings(store=store.url, backend="local"), store, connect_to(backend))
        app.state.grpc_listener = grpc_listener
        server = Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on"))
        thread = threading.Thread(target=_run, args=(server, listener), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the gateway did not start"
            time.sleep(0.005)
        try:
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", grpc_listener.getsockname()[1], backend)
        finally:
            server.should_exit = True
            thread.join()


def _run(server: Server, listener: socket.socket) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(sockets=[listener]))
