"""A process of its own for the scheduling layer: it answers no client, only probes and the collector of metrics."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from reelspace.core.errors import ServerUnavailable
from reelspace.core.store import Store, open_store
from reelspace.gateway.health import Health, add_health, add_metrics
from reelspace.gateway.metrics import Metrics
from reelspace.gateway.scheduling import scheduling
from reelspace.gateway.server import serve
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.surroundings import Connect, connector
from reelspace.search.access.catalog import Catalog
from reelspace.search.scheduling.controller import Controller
from reelspace.search.scheduling.create import create_collection


def run_controller(settings: GatewaySettings) -> None:
    """Build generations and make them current until SIGTERM or SIGINT; prints a line when it has begun."""
    store = open_store(settings.store)
    serve(create_controller_app(settings, store, connector(settings, store)), settings)


def create_controller_app(settings: GatewaySettings, store: Store, connect: Connect) -> FastAPI:
    """Make the application; it is ready when it could last see who leads."""
    metrics, running = Metrics(), _Running()
    health = Health(running.probe, settings.ready_timeout_s)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with connect(metrics.count_replica) as surroundings:
            catalog = Catalog(store, surroundings, create_collection, settings.fanout)
            try:
                await catalog.start()
                async with scheduling(store, catalog, settings, metrics) as running.controller:
                    yield
            finally:
                await catalog.close()

    app = FastAPI(title="reelspace controller", lifespan=lifespan, openapi_url=None)
    add_metrics(app, metrics)
    add_health(app, health, tells=True)
    app.state.health, app.state.operators = health, None
    return app


class _Running:
    """The controller between start and end."""

    controller: Controller | None = None

    async def probe(self, _timeout_s: float) -> None:
        problem = "it is starting" if self.controller is None else self.controller.problem
        if problem is not None:
            raise ServerUnavailable(problem)
