"""The gateway's application: the routers of search and serving behind one entrance, health and metrics."""

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from fastapi import FastAPI, Request, Response

from reelspace.core.errors import ServerUnavailable
from reelspace.core.store import Store
from reelspace.gateway.allowance import Allowance
from reelspace.gateway.console.console import Console
from reelspace.gateway.console.recall_history import sampling
from reelspace.gateway.described_app import DescribedApp
from reelspace.gateway.followed_files import FollowedFiles, following
from reelspace.gateway.grpc_dialect import GrpcDoor, serving_grpc
from reelspace.gateway.guard import Guard
from reelspace.gateway.health import Health, add_health, add_metrics
from reelspace.gateway.http_entrance import HttpEntrance, answer_refusal
from reelspace.gateway.key_catalog import KeyCatalog
from reelspace.gateway.keys import read_keys
from reelspace.gateway.metrics import Metrics
from reelspace.gateway.records import Records
from reelspace.gateway.scheduling import scheduling
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.shard_metrics import HeldShard
from reelspace.gateway.surroundings import Connect
from reelspace.gateway.timed_backend import TimedBackend
from reelspace.gateway.v2 import gateway_methods, v2_endpoint
from reelspace.search.access.catalog import Catalog
from reelspace.search.access.collection_service import CollectionService
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.replicas import Event
from reelspace.search.access.routes import dialect_router
from reelspace.search.access.seen_collections import SeenCollections
from reelspace.search.compute.queries import ShardFacts
from reelspace.search.scheduling.create import create_collection
from reelspace.serving.bodies import Bodies
from reelspace.serving.endpoint import Endpoint
from reelspace.serving.routes import v2_router
from reelspace.serving.signatures import Signature


@dataclass(frozen=True, slots=True)
class ServedModels:
    """The promoted encoders that /v2 offers: tensors and version by model."""

    signatures: Mapping[str, Signature]
    versions: Mapping[str, int]


@dataclass
class _Running:
    """What exists between the start of the server and its end."""

    catalog: Catalog | None = None
    seen: SeenCollections | None = None
    encoders: Endpoint | None = None

    def get(self) -> SeenCollections:
        """Give what handlers see."""
        assert self.seen is not None, "requests come after the start"
        return self.seen

    def meaning(self, name: str) -> str | None:
        return None if self.catalog is None else self.catalog.meaning(name)

    def recalls(self) -> list[tuple[float, bool]]:
        return [] if self.catalog is None else self.catalog.recalls()

    def num_waiting(self) -> int:
        return 0 if self.catalog is None else self.catalog.num_waiting

    def shard_facts(self) -> dict[str, Sequence[ShardFacts]]:
        """Give what the shards of open collections told last, by full name."""
        return {service.collection.full_name: service.tally.facts for service in self._opened()}

    def shards(self) -> Iterator[HeldShard]:
        """Give every shard of open collections."""
        for service in self._opened():
            told = zip(service.tally.facts, service.num_behind, strict=True)
            for shard, (facts, num_behind) in enumerate(told):
                yield HeldShard(service.collection.full_name, shard, facts, num_behind)

    def _opened(self) -> list[CollectionService]:
        catalog = self.catalog
        names = [] if catalog is None else catalog.names()
        return [service for name in names if catalog and (service := catalog.opened(name)) is not None]

    async def probe(self, timeout_s: float) -> None:
        if self.catalog is None:
            raise ServerUnavailable("the gateway is starting")
        await self.catalog.probe(timeout_s)
        if self.encoders is not None and not await self.encoders.is_ready():
            raise ServerUnavailable("an encoder does not answer")


def create_app(settings: GatewaySettings, store: Store, connect: Connect, models: ServedModels | None = None) -> FastAPI:
    """Make the application.

    Its `state` has `health`, and `operators`, the application for `admin_port`, None without one; with `grpc` given before the start
    it serves gRPC, too.

    Args:
        connect: makes the connections to shards and encoders, in the server's event loop.
        models: what /v2 offers; None leaves it out.

    Raises:
        SettingError: the file of keys cannot be read, or is wrong.
    """
    metrics, running, console = Metrics(), _Running(), Console(settings)
    metrics.follow_waiting(running.num_waiting)
    metrics.follow_recalls(running.recalls)
    metrics.follow_shards(running.shards)
    records = Records(metrics, access_log=settings.access_log)
    guard = Guard(Allowance(time.monotonic), running.meaning)
    keys = _followed_keys(settings, guard)
    leaves_generations = settings.without_controller or settings.backend == "none"
    v2, health = None, Health(running.probe, settings.ready_timeout_s)
    if models is not None and settings.triton_http is not None:
        v2 = v2_endpoint(settings.triton_http, models.signatures, models.versions, settings.v2, metrics, store, lambda: health.is_draining)
        # Where there are shards, a dead encoder must not keep the searches by vector out.
        running.encoders = v2 if settings.backend == "none" else None

    def told(address: str, event: Event) -> None:
        metrics.count_replica(address, event)
        console.replicas.hear(address, event)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with connect(told) as surroundings:
            timed = replace(surroundings, backend=TimedBackend(surroundings.backend, metrics.count_shard))
            catalog = Catalog(store, timed, create_collection, settings.fanout, metrics.count_batch)
            try:
                if settings.backend != "none":
                    await catalog.start()
                running.catalog, running.seen = catalog, catalog if guard.is_open else KeyCatalog(catalog, guard)
                async with (
                    following(keys),
                    sampling(console.history, running.shard_facts),
                    nullcontext() if leaves_generations else scheduling(store, catalog, settings, metrics),
                    v2 or nullcontext(),
                    serving_grpc(_grpc_door(app), running.get, gateway_methods(v2), guard, records, settings),
                ):
                    yield
            finally:
                await catalog.close()

    app = DescribedApp(title="reelspace", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.grpc_listener, app.state.grpc_tls = None, None  # `serve` opens them
    app.state.console = console
    app.add_middleware(HttpEntrance, guard=guard, records=records, sessions=console.sessions)
    app.add_exception_handler(RequestRefused, _refusal)
    # As routes of the application's own: a router that is included is matched twice for every request.
    if settings.backend != "none":
        app.router.routes += dialect_router(running.get, guard.permitted).routes
    bodies = Bodies(settings.v2)
    if v2 is not None:
        app.router.routes += v2_router(v2, guard.permitted, bodies).routes
    app.router.routes += console.router(running.get, guard, bodies, v2, running.num_waiting, metrics.refusals).routes
    _add_probes(app, health, metrics, settings)
    return app


def _followed_keys(settings: GatewaySettings, guard: Guard) -> FollowedFiles | None:
    if settings.keys_file is None:
        return None
    path = Path(settings.keys_file)
    return FollowedFiles([path], lambda: guard.use(read_keys(path)))


def _grpc_door(app: FastAPI) -> GrpcDoor | None:
    return None if app.state.grpc_listener is None else GrpcDoor(app.state.grpc_listener, app.state.grpc_tls)


def _add_probes(app: FastAPI, health: Health, metrics: Metrics, settings: GatewaySettings) -> None:
    """Answer probes; where there is a port of the operators', counters and reasons are told there only."""
    operators = None
    if settings.admin_port is not None:
        operators = FastAPI(title="reelspace", openapi_url=None)
        add_health(operators, health, tells=True)
        add_metrics(operators, metrics)
    else:
        add_metrics(app, metrics)
    add_health(app, health, tells=settings.keys_file is None)
    app.state.health, app.state.operators = health, operators


async def _refusal(request: Request, error: Exception) -> Response:
    """Answer what is refused before a handler outside of the dialect."""
    assert isinstance(error, RequestRefused), "it is registered for these"
    return answer_refusal(request.url.path, error, time.perf_counter())
