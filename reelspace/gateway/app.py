"""The gateway's application: the routers of search and serving, health and metrics."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import orjson
from fastapi import FastAPI, Response

from reelspace.core.errors import ReelspaceError
from reelspace.core.store import Store
from reelspace.gateway.grpc_dialect import serving_grpc
from reelspace.gateway.metrics import Metrics, MetricsMiddleware
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.surroundings import Connect
from reelspace.search.access.catalog import Catalog
from reelspace.search.access.keeper import Keeper, keeping
from reelspace.search.access.routes import dialect_router
from reelspace.search.scheduling.create import create_collection
from reelspace.serving.routes import v2_router
from reelspace.serving.signatures import Signature

KEEP_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class ServedModels:
    """The promoted encoders that /v2 offers: tensors and version by model."""

    signatures: Mapping[str, Signature]
    versions: Mapping[str, int]


@dataclass
class _Running:
    """What exists between the start of the server and its end."""

    catalog: Catalog | None = None

    def get(self) -> Catalog:
        assert self.catalog is not None, "requests come after the start"
        return self.catalog


def create_app(settings: GatewaySettings, store: Store, connect: Connect, models: ServedModels | None = None) -> FastAPI:
    """Make the application.

    Args:
        connect: makes the connections to shards and encoders, in the server's event loop.
        models: what /v2 offers; None leaves it out.
    """
    metrics, running = Metrics(), _Running()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with connect() as surroundings:
            catalog = Catalog(store, surroundings, create_collection, settings.fanout, metrics.count_batch)
            try:
                await catalog.start()
                running.catalog = catalog
                async with (
                    keeping(Keeper(store, lambda: catalog.overdue(KEEP_TIMEOUT_S))),
                    serving_grpc(app.state.grpc_listener, running.get, settings, metrics),
                ):
                    yield
            finally:
                await catalog.close()

    app = FastAPI(title="reelspace", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.grpc_listener = None  # `serve` opens it
    app.add_middleware(MetricsMiddleware, metrics=metrics)
    app.include_router(dialect_router(running.get))
    if models is not None and settings.triton_http is not None:
        app.include_router(v2_router(f"http://{settings.triton_http}", models.signatures, versions=models.versions))
    _add_health(app, running, metrics, settings.ready_timeout_s)
    return app


def _add_health(app: FastAPI, running: _Running, metrics: Metrics, timeout_s: float) -> None:
    async def live() -> Response:
        """Answer as long as this process runs."""
        return Response()

    async def ready() -> Response:
        """Answer 200 when every shard and the text encoder answer a real request."""
        try:
            await running.get().probe(timeout_s)
        except ReelspaceError as error:
            body = orjson.dumps({"status": {"error": " ".join(str(error).split())}})
            return Response(body, 503, media_type="application/json")
        return Response()

    async def counters() -> Response:
        """Give the counters in Prometheus' text format."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    app.add_api_route("/healthz", live, methods=["GET"])
    app.add_api_route("/readyz", ready, methods=["GET"])
    app.add_api_route("/metrics", counters, methods=["GET"])
