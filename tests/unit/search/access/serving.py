"""A gateway on a port of this machine, in a thread of this process."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from reelspace.core.store import Store
from reelspace.gateway.app import create_app
from reelspace.gateway.server import Server
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.surroundings import Connect
from reelspace.search.access.backend import Backend, Surroundings


def connect_to(backend: Backend) -> Connect:
    """Stand in front of a backend, without encoders."""

    @asynccontextmanager
    async def connect():  # type: ignore[no-untyped-def]
        yield Surroundings(backend, lambda _pointer: {})

    return connect


@contextmanager
def serving(store: Store, connect: Connect) -> Iterator[str]:
    """Serve a store and give the address."""
    settings = GatewaySettings(store=store.url, backend="local")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = create_app(settings, store, connect)
        server = Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the gateway did not start"
            time.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
