"""A gateway on a port of this machine, in a thread of this process."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from reelspace.core.store import Store
from reelspace.gateway.app import ServedModels, create_app
from reelspace.gateway.server import Server
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.surroundings import Connect
from reelspace.search.access.backend import Backend, Surroundings
from reelspace.search.access.targets import Encoder


def connect_to(backend: Backend, encoders: Mapping[str, Encoder] | None = None) -> Connect:
    """Stand in front of a backend, and of the encoders of words that there are."""

    @asynccontextmanager
    async def connect(_tell):  # type: ignore[no-untyped-def]
        yield Surroundings(backend, lambda _pointer: encoders or {})

    return connect


@contextmanager
def serving(store: Store, connect: Connect, models: ServedModels | None = None, **more: str) -> Iterator[str]:
    """Serve a store, and models where there are some, and give the address; `more` are settings of the gateway."""
    settings = GatewaySettings(store=store.url, backend="local", **more)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = create_app(settings, store, connect, models)
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
