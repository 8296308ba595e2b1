"""Whether the gateway lives, has started, and is ready: three questions with three answers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
from fastapi import FastAPI, Response
from fastapi.responses import PlainTextResponse

from reelspace.core.errors import ReelspaceError
from reelspace.gateway.metrics import Metrics
from reelspace.search.access.schemas.shapes import answer as shape
from reelspace.search.access.schemas.shapes import text

_NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    503: {
        "description": "Not ready.",
        "content": {"application/json": {"schema": shape({"status": shape({"error": text()})})}},
    }
}


class Health:
    """Knows what hinders the gateway. Living needs nothing but this process, so nothing here can end it."""

    def __init__(self, probe: Callable[[float], Awaitable[None]], timeout_s: float) -> None:
        """Know nothing yet.

        Args:
            probe: makes every open collection really answer within seconds; raises what hinders it.
        """
        self._probe = probe
        self._timeout_s = timeout_s
        self._started = False
        self._probing: asyncio.Task[str | None] | None = None
        self.is_draining = False

    def drain(self) -> None:
        """Be ready no more."""
        self.is_draining = True

    async def hindrance(self) -> str | None:
        """Tell why no requests should be sent here, None if they may be."""
        if self.is_draining:
            return "the gateway is ending: it answers what runs, and takes nothing new"
        if self._probing is None or self._probing.done():
            # One for all who ask meanwhile: nobody needs a key for it, and it makes every shard work.
            self._probing = asyncio.get_running_loop().create_task(self._probed())
        return await asyncio.shield(self._probing)

    async def _probed(self) -> str | None:
        try:
            await self._probe(self._timeout_s)
        except ReelspaceError as error:
            return " ".join(str(error).split())
        self._started = True
        return None

    async def start_hindrance(self) -> str | None:
        """Tell why it was never ready, None once it was."""
        return None if self._started else await self.hindrance()


def add_health(app: FastAPI, health: Health, *, tells: bool, life: Callable[[], Awaitable[str | None]] | None = None) -> None:
    """Answer probes in an application, under the names of Kubernetes and of Qdrant's clients.

    Args:
        tells: say what hinders readiness; it may name collections.
        life: tells why this process is to be ended, None if it is not; without it, it lives as long as it answers.
    """

    async def live() -> Response:
        """Answer as long as this process works."""
        return Response() if life is None else _answer(await life(), tells)

    async def ready() -> Response:
        """Answer 200 when every shard and the text encoder answer a real request."""
        return _answer(await health.hindrance(), tells)

    async def started() -> Response:
        """Answer 200 once everything was ready for the first time, and from then on."""
        return _answer(await health.start_hindrance(), tells)

    for path, answer in (("/livez", live), ("/healthz", live), ("/readyz", ready), ("/startupz", started)):
        responses = None if answer is live and life is None else _NOT_READY
        app.add_api_route(path, answer, methods=["GET"], response_class=Response, responses=responses)


def add_metrics(app: FastAPI, metrics: Metrics) -> None:
    """Answer with the counters in an application."""

    async def counters() -> Response:
        """Give the counters in Prometheus' text format."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    app.add_api_route("/metrics", counters, methods=["GET"], response_class=PlainTextResponse)


def _answer(hindrance: str | None, tells: bool) -> Response:
    if hindrance is None:
        return Response()
    return Response(orjson.dumps({"status": {"error": hindrance if tells else "not ready"}}), 503, media_type="application/json")
