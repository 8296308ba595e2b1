"""What the gateway counts, for Prometheus, and the middleware that counts requests."""

import time
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
BATCHES: Final = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one gateway process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter("reelspace_requests", "Requests answered", ["method", "route", "status"], registry=self._registry)
        self._seconds = Histogram("reelspace_request_seconds", "Time to answer", ["route"], buckets=SECONDS, registry=self._registry)
        self._batches = Histogram("reelspace_search_batch", "Queries per call of the shards", buckets=BATCHES, registry=self._registry)
        self._calls: dict[tuple[str, str], tuple[Counter, Histogram]] = {}

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request; the route is the template, so that names in addresses make no new series."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_call(self, path: str, code: str, seconds: float) -> None:
        """Count one answered gRPC call; paths that name no method are counted as one."""
        # Looked up once: making labels costs more than counting.
        counted = self._calls.get((path, code))
        if counted is None:
            counted = self._calls[path, code] = self._requests.labels("gRPC", path, code), self._seconds.labels(path)
        counted[0].inc()
        counted[1].observe(seconds)

    def count_batch(self, num_queries: int) -> None:
        """Count one batch sent to the shards."""
        self._batches.observe(num_queries)

    def text(self) -> bytes:
        """Write all counters in Prometheus' text format."""
        return generate_latest(self._registry)


class MetricsMiddleware:
    """Counts every HTTP request with its route, status and time."""

    def __init__(self, app: ASGIApp, metrics: Metrics, clock: Callable[[], float] = time.perf_counter) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start_s, status = self._clock(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.count_request(scope["method"], route, status, self._clock() - start_s)
