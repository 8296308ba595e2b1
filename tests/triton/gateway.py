"""The V2 routes in a real server process of its own thread, on a free port."""

import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from fastapi import FastAPI

from reelspace.serving.endpoint import Endpoint
from reelspace.serving.routes import v2_router
from reelspace.serving.signatures import Signature
from reelspace.serving.upstream import Upstream

from .doubling import until


@contextmanager
def running_gateway(triton_url: str, models: Mapping[str, Signature], versions: Mapping[str, int] | None = None) -> Iterator[str]:
    endpoint = Endpoint(Upstream(triton_url, 10.0, versions), models)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with endpoint:
            yield

    app = FastAPI(lifespan=lifespan)
    app.include_router(v2_router(endpoint))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    assert until(lambda: server.started, 10)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
