"""The subset of Qdrant's REST dialect that is served, with fields of our own: coverage, generation, space_id.

Errors have the dialect's shape, {"status": {"error": ...}, "time": ...}; what of Qdrant is not served answers 501 by name.
"""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from reelspace.core.errors import ReelspaceError, ServerUnavailable
from reelspace.core.log import log
from reelspace.search.access.fanout import Found, Overloaded
from reelspace.search.access.query_request import QueryRequest, parse_query, parse_searches
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.searcher import Searcher
from reelspace.search.access.served import Served
from reelspace.search.access.shard_client import ShardTimeout

MAX_BODY_BYTES: Final = 32 << 20
DEFAULT_TIMEOUT_S: Final = 5.0
MAX_TIMEOUT_S: Final = 60.0
EVERY_METHOD: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class DialectRoute(APIRoute):
    """A route whose errors have the dialect's shape."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            start_s = time.perf_counter()
            try:
                return await handler(request)
            except ReelspaceError as error:
                return _refused(error, start_s)

        return answer


def collections_router(searcher: Callable[[], Searcher]) -> APIRouter:
    """Make the routes under /collections; `searcher` is asked once per request, after the server has started."""
    router = APIRouter(route_class=DialectRoute)
    endpoint = CollectionsEndpoint(searcher)
    router.add_api_route("/collections", endpoint.list, methods=["GET"])
    router.add_api_route("/collections/{collection}", endpoint.describe, methods=["GET"])
    router.add_api_route("/collections/{collection}/points/query", endpoint.query, methods=["POST"])
    router.add_api_route("/collections/{collection}/points/query/batch", endpoint.query_batch, methods=["POST"])
    router.add_api_route("/collections/{feature:path}", endpoint.unserved, methods=EVERY_METHOD, include_in_schema=False)
    return router


class CollectionsEndpoint:
    """The handlers of the routes."""

    def __init__(self, searcher: Callable[[], Searcher]) -> None:
        self._searcher = searcher

    async def list(self) -> Response:
        """Name the served collection."""
        return _answer({"collections": [{"name": self._searcher().served.collection.full_name}]}, time.perf_counter())

    async def describe(self, collection: str) -> Response:
        """Describe a collection by its name or alias."""
        start_s = time.perf_counter()
        return _answer(_description(self._found(collection).served), start_s)

    async def query(self, collection: str, request: Request) -> Response:
        """Answer one query."""
        start_s = time.perf_counter()
        searcher = self._found(collection)
        parsed = parse_query(await _read_json(request), searcher.served.collection.dimension)
        found = await searcher.search(parsed, _timeout_s(request))
        return _answer(_result(found, parsed, searcher.served), start_s)

    async def query_batch(self, collection: str, request: Request) -> Response:
        """Answer several queries; one that fails fails all."""
        start_s = time.perf_counter()
        searcher = self._found(collection)
        parsed = parse_searches(await _read_json(request), searcher.served.collection.dimension)
        timeout_s = _timeout_s(request)
        found = await _all([searcher.search(search, timeout_s) for search in parsed])
        results = [_result(one, search, searcher.served) for one, search in zip(found, parsed, strict=True)]
        return _answer(results, start_s)

    async def unserved(self, feature: str, request: Request) -> Response:
        """Name what is not served."""
        collection, _, rest = feature.partition("/")
        raise RequestRefused("path", f"{request.method} {rest or f'of collection {collection[:80]!r}'} is not served here", status=501)

    def _found(self, name: str) -> Searcher:
        searcher = self._searcher()
        if not searcher.served.answers_to(name):
            known = f"{searcher.served.alias}, {searcher.served.collection.full_name}"
            raise RequestRefused("collection", f"Collection `{name[:80]}` doesn't exist; served here: {known}", status=404)
        return searcher


async def _all(searches: Sequence[Coroutine[Any, Any, Found]]) -> Sequence[Found]:
    tasks = [asyncio.ensure_future(search) for search in searches]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _read_json(request: Request) -> Any:
    content_type = request.headers.get("Content-Type", "application/json").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise RequestRefused("Content-Type", f"expected application/json, got {content_type[:80]!r}", status=415)
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise RequestRefused("Content-Encoding", "expected an uncompressed body", status=415)
    chunks, size_bytes = [], 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        if size_bytes > MAX_BODY_BYTES:
            raise RequestRefused("body", f"expected at most {MAX_BODY_BYTES} bytes", status=413)
        chunks.append(chunk)
    try:
        return orjson.loads(b"".join(chunks))
    except orjson.JSONDecodeError as error:
        raise RequestRefused("body", f"expected JSON: {error}") from error


def _timeout_s(request: Request) -> float:
    """Read the one parameter of the address, as Qdrant has it: seconds."""
    strange = [name for name in request.query_params if name not in ("timeout", "consistency")]
    if strange:
        raise RequestRefused(strange[0][:80], "unknown parameter of the address; known here: timeout")
    if "consistency" in request.query_params:
        raise RequestRefused("consistency", "consistency is not served here", status=501)
    text = request.query_params.get("timeout")
    if text is None:
        return DEFAULT_TIMEOUT_S
    try:
        timeout_s = float(text)
    except ValueError:
        timeout_s = math.nan
    if not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise RequestRefused("timeout", f"expected seconds above 0, at most {MAX_TIMEOUT_S:.0f}, got {text[:40]!r}")
    return timeout_s


def _result(found: Found, request: QueryRequest, served: Served) -> dict[str, Any]:
    missing = set(found.missing_shards)
    answered = sum(rows for shard, rows in enumerate(served.rows) if shard not in missing)
    return {
        "points": _points(found, request, served),
        "coverage": {"rows": answered, "of": sum(served.rows), "missing_shards": list(found.missing_shards)},
        "generation": list(served.generations),
        "space_id": served.collection.space_id,
    }


def _points(found: Found, request: QueryRequest, served: Served) -> list[dict[str, Any]]:
    version = max(served.generations)
    hits = zip(found.ids, found.scores, strict=True)
    points: list[dict[str, Any]] = [{"id": hit, "version": version, "score": score} for hit, score in hits]
    if request.with_payload and found.payloads is not None:
        for point, payload in zip(points, found.payloads, strict=True):
            point["payload"] = orjson.Fragment(payload)
    return points


def _description(served: Served) -> dict[str, Any]:
    collection, rows = served.collection, sum(served.rows)
    vectors = {"size": collection.dimension, "distance": "Cosine"}
    return {
        "status": "green",
        "optimizer_status": "ok",
        "points_count": rows,
        "indexed_vectors_count": rows,
        "segments_count": collection.num_shards,
        "config": {
            "params": {"vectors": vectors, "shard_number": collection.num_shards, "replication_factor": 1, "on_disk_payload": False},
            # Required by the dialect's clients; no graph and no optimizer is at work here.
            "hnsw_config": {"m": 0, "ef_construct": 4, "full_scan_threshold": 0},
            "optimizer_config": {
                "deleted_threshold": 0,
                "vacuum_min_vector_number": 100,
                "default_segment_number": 0,
                "flush_interval_sec": 0,
            },
        },
        "payload_schema": {},
        "aliases": [served.alias],
        "generation": list(served.generations),
        "space_id": collection.space_id,
    }


def _answer(result: Any, start_s: float) -> Response:
    body = orjson.dumps({"result": result, "status": "ok", "time": time.perf_counter() - start_s})
    return Response(body, media_type="application/json")


def _refused(error: ReelspaceError, start_s: float) -> Response:
    status = _status(error)
    if status == 500:
        log("request_failed", error=type(error).__name__, message=str(error))
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    body = orjson.dumps({"status": {"error": " ".join(str(error).split())}, "result": None, "time": time.perf_counter() - start_s})
    return Response(body, status, headers=headers, media_type="application/json")


def _status(error: ReelspaceError) -> int:
    if isinstance(error, RequestRefused):
        return error.status
    if isinstance(error, Overloaded):
        return 429
    if isinstance(error, ShardTimeout):
        return 504
    if isinstance(error, ServerUnavailable):
        return 503
    return 500
