"""A Triton server as a process of its own: it loads what the store says that it has, and answers probes by real inferences.

A gateway or a controller has it load more; what it has is asked by them at its own ports. The port here is for probes alone.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import httpx
from fastapi import FastAPI

from reelspace.core.errors import ReelspaceError, ServerUnavailable
from reelspace.core.local_store import LocalStore
from reelspace.core.log import log
from reelspace.core.settings import read
from reelspace.core.store import Store, open_store
from reelspace.gateway.health import Health, add_health
from reelspace.gateway.server import serve
from reelspace.gateway.settings import GatewaySettings
from reelspace.search.access.together import running
from reelspace.search.scheduling.promoted_encoders import PromotedEncoders
from reelspace.search.scheduling.repository import publish_followed
from reelspace.search.storage.known import read_known
from reelspace.search.storage.layout import read_collection, shard_model
from reelspace.search.storage.placement import read_placement
from reelspace.serving.runtime import BACKENDS
from reelspace.serving.triton import Ports, TritonProcess

REPOSITORY: Final = "repository"
PROBE_S: Final = 10.0
LOG_S: Final = 0.5
Kind: TypeAlias = Literal["shards", "encoders"]


@dataclass(frozen=True, slots=True)
class TritonPlan:
    """One server.

    Attributes:
        kind: what it loads at its start: shards, or the encoders that are promoted.
        group: its group of the placement; None: every shard.
        host, port: where probes are answered; the server's own ports are open at the same address.
        backends: directory of our own backends.
        load_s: longest wait for one model, seconds.
        drain_s: seconds of being unready before the end.
    """

    store: str
    kind: Kind
    group: str | None
    host: str
    port: int
    ports: Ports
    backends: Path = BACKENDS
    load_s: float = 600.0
    drain_s: float = 0.0


def run_triton(plan: TritonPlan) -> None:
    """Run a server until SIGTERM or SIGINT, its log on stderr; prints a line when it has begun."""
    store = open_store(plan.store)
    grpc, http = (f"127.0.0.1:{port}" for port in (plan.ports.grpc, plan.ports.http))
    given = {"store": plan.store, "triton_grpc": grpc, "triton_http": http, "host": plan.host, "port": plan.port}
    serve(create_triton_app(plan, store), read(GatewaySettings, given | {"without_keys": True, "drain_s": plan.drain_s}))


def create_triton_app(plan: TritonPlan, store: Store) -> FastAPI:
    """Make the application that answers probes; the server runs between its start and its end."""
    server = _Server(plan, store)
    health = Health(server.probe, PROBE_S)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with server.up():
            yield

    app = FastAPI(title="reelspace triton", lifespan=lifespan, openapi_url=None)
    add_health(app, health, tells=True, life=server.ending)
    app.state.health, app.state.operators = health, None
    return app


def models_to_load(store: Store, kind: Kind, group: str | None) -> list[str]:
    """Name the models that a server has to have; those of shards are in the repository then.

    Args:
        group: a group's name; while the placement has no group of it, gateways say what is loaded there.
    """
    if kind == "encoders":
        return sorted(PromotedEncoders(store).versions())
    models = []
    for full_name in read_known(store).wanted():
        collection = read_collection(store, full_name)
        publish_followed(store, collection)
        models += [shard_model(full_name, shard) for shard in range(collection.num_shards)]
    placement = read_placement(store)
    return models if group is None else [model for model in models if placement.shards.get(model) == group]


class _Server:
    """The server between start and end."""

    def __init__(self, plan: TritonPlan, store: Store) -> None:
        self._plan, self._store = plan, store
        self._triton: TritonProcess | None = None
        self._has_loaded = False
        self._probing: asyncio.Task[str | None] | None = None

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        """Have it up while the block runs, and load beside it."""
        _make_repository(self._store)
        with tempfile.TemporaryDirectory(prefix="reelspace-triton-log-") as folder:
            path = Path(folder) / "log"
            path.touch()
            async with running(_told(path)):
                self._triton = await asyncio.to_thread(self._started, path)
                try:
                    async with running(self._load()):
                        yield
                finally:
                    await asyncio.to_thread(self._triton.stop)

    def _started(self, log_path: Path) -> TritonProcess:
        plan, url = self._plan, self._store.url
        at = plan.host, plan.ports
        return TritonProcess.start([f"{url}/{REPOSITORY}"], [], {"REELSPACE_STORE": url}, log_path=log_path, backends=plan.backends, at=at)

    async def _load(self) -> None:
        """Load what the store says; what cannot be loaded now is asked for again by those who need it."""
        assert self._triton is not None, "it is started first"
        for model in await self._models():
            try:
                await asyncio.to_thread(self._triton.load, model, self._plan.load_s)
                log("loaded", model=model)
            except (ReelspaceError, httpx.TransportError) as error:
                log("not_loaded", model=model, error=str(error))
        self._has_loaded = True

    async def _models(self) -> list[str]:
        while True:
            try:
                return await asyncio.to_thread(models_to_load, self._store, self._plan.kind, self._plan.group)
            except (ReelspaceError, OSError) as error:
                log("models_not_known", error=str(error))
                await asyncio.sleep(1.0)

    async def probe(self, _timeout_s: float) -> None:
        """Raise what hinders that requests are sent here."""
        if not self._has_loaded:
            raise ServerUnavailable("it is loading")
        problem = await self.ending()
        if problem is not None:
            raise ServerUnavailable(problem)

    async def ending(self) -> str | None:
        """Tell why the server is to be started anew: it has ended, or a model that it calls ready does not answer."""
        if self._probing is None or self._probing.done():
            # One for all who ask meanwhile.
            self._probing = asyncio.get_running_loop().create_task(asyncio.to_thread(self._problem))
        return await asyncio.shield(self._probing)

    def _problem(self) -> str | None:
        if self._triton is None or self._triton.has_ended:
            return "Triton has ended"
        try:
            for model in self._triton.ready_models():
                self._triton.probe(model)
        except (ReelspaceError, httpx.TransportError) as error:
            return " ".join(str(error).split()) or type(error).__name__
        return None


def _make_repository(store: Store) -> None:
    """Let there be a repository, without which Triton does not start."""
    if isinstance(store, LocalStore):
        (store.root / REPOSITORY).mkdir(exist_ok=True)
    elif not store.exists(f"{REPOSITORY}/README"):
        store.put(f"{REPOSITORY}/README", b"Triton's model repository\n")


async def _told(path: Path) -> None:
    """Write on stderr what comes into a file, the rest at the end."""
    with path.open("rb") as written:
        try:
            while True:
                os.write(sys.stderr.fileno(), written.read())
                await asyncio.sleep(LOG_S)
        finally:
            os.write(sys.stderr.fileno(), written.read())
