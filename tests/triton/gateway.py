"""The V2 routes in a real server process of its own thread, on a free port."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from reelspace.serving.routes import v2_router
from reelspace.serving.signatures import Signature

from .doubling import until


@contextmanager
def running_gateway(triton_url: str, models: Mapping[str, Signature], versions: Mapping[str, int] | None = None) -> Iterator[str]:
    app = FastAPI()
    app.include_router(v2_router(triton_url, models, versions=versions))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    assert until(lambda: server.started, 10)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
