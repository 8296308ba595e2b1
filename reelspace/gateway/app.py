"""The gateway's application: the routers of search and serving, health and metrics, around what was promoted."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson
import tritonclient.grpc.aio as triton
from fastapi import FastAPI, Response

from reelspace.core.errors import ReelspaceError
from reelspace.gateway.metrics import Metrics, MetricsMiddleware
from reelspace.gateway.settings import GatewaySettings
from reelspace.search.access import text_encoder
from reelspace.search.access.fanout import Fanout
from reelspace.search.access.routes import collections_router
from reelspace.search.access.searcher import Searcher
from reelspace.search.access.served import Served
from reelspace.search.access.shard_client import CHANNEL_OPTIONS, TritonShard
from reelspace.search.access.text_encoder import TextEncoder
from reelspace.search.storage.layout import shard_model
from reelspace.serving.routes import v2_router
from reelspace.serving.signatures import Signature


@dataclass
class _Running:
    """What exists between the start of the server and its end."""

    searcher: Searcher | None = None

    def get(self) -> Searcher:
        assert self.searcher is not None, "requests come after the start"
        return self.searcher


def create_app(settings: GatewaySettings, served: Served, signatures: Mapping[str, Signature]) -> FastAPI:
    """Make the application.

    Args:
        served: the promoted collection and encoders.
        signatures: tensors of the encoders that /v2 offers, by model.
    """
    metrics, running = Metrics(), _Running()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # A gRPC channel belongs to the event loop that it is made in.
        client = triton.InferenceServerClient(settings.triton_grpc, channel_args=CHANNEL_OPTIONS)
        running.searcher = make_searcher(client, settings, served, metrics)
        try:
            yield
        finally:
            await client.close()

    app = FastAPI(title="reelspace", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(MetricsMiddleware, metrics=metrics)
    app.include_router(collections_router(running.get))
    app.include_router(v2_router(f"http://{settings.triton_http}", signatures, versions=served.encoders))
    _add_health(app, running, metrics, settings.ready_timeout_s)
    return app


def make_searcher(client: triton.InferenceServerClient, settings: GatewaySettings, served: Served, metrics: Metrics) -> Searcher:
    """Connect a served collection with Triton's models at the promoted versions."""
    collection = served.collection
    shards = [
        TritonShard(client, shard_model(collection.full_name, shard), generation, collection.dimension)
        for shard, generation in enumerate(served.generations)
    ]
    version = served.encoders.get(text_encoder.MODEL)
    text = None if version is None else TextEncoder(client, version, collection.space_id)
    return Searcher(served, Fanout(shards, settings.fanout, metrics.count_batch), text)


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
