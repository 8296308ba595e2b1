"""Measures search through a running gateway: recall against brute force, rate and latency.

Legend: N rows, Q queries, K hits, D dimension.
"""

import http.client
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import numpy as np
import orjson
from numpy.typing import NDArray

from reelspace.core.errors import ServerUnavailable
from reelspace.search.client import SearchClient

K: Final = 10
SCORED_FLOATS: Final = 1 << 25
TIMEOUT_S: Final = 30.0
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SearchFigures:
    """What was measured: rows searched, recall at 10, answered queries per second, 99th percentile of the latency in milliseconds."""

    rows: int
    recall_at_10: float
    queries_per_second: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Gallery:
    """What lies behind the gateway: ids and their vectors of length 1, in any order."""

    ids_N: Ints
    vectors_ND: Floats


def measure_search(
    url: str, gallery: Gallery, queries_QD: Floats, *, collection: str = "videos", concurrency: int = 8, num_queries: int = 2000
) -> SearchFigures:
    """Ask every query once for the recall, then `num_queries` of them in a closed loop for rate and latency.

    Args:
        concurrency: clients that ask at the same time, each the next query as soon as it has an answer.

    Raises:
        ServerUnavailable: the gateway did not answer 200.
    """
    exact_QK = exact_ids_QK(queries_QD, gallery, K)
    recall = recall_at_k(ask_all(url, queries_QD, collection), exact_QK)
    seconds_Q, wall_s = time_queries(url, queries_QD, collection, concurrency, num_queries)
    return SearchFigures(len(gallery.ids_N), recall, len(seconds_Q) / wall_s, float(np.percentile(seconds_Q, 99)) * 1000)


def exact_ids_QK(queries_QD: Floats, gallery: Gallery, k: int) -> Ints:
    """Rank all rows by inner product in double precision, ties by id: the independent answer."""
    order_N = np.argsort(gallery.ids_N)
    ids_N, vectors_ND = gallery.ids_N[order_N], gallery.vectors_ND[order_N].astype(np.float64)
    at_once = max(1, SCORED_FLOATS // max(1, len(ids_N)))
    found = []
    for start in range(0, len(queries_QD), at_once):
        scores_QN = queries_QD[start : start + at_once].astype(np.float64) @ vectors_ND.T
        best_QK = np.argsort(-scores_QN, axis=1, kind="stable")[:, :k]
        found.append(ids_N[best_QK])
    return np.concatenate(found)


def ask_all(url: str, queries_QD: Floats, collection: str) -> list[list[int]]:
    """Give the ids that the gateway answers to each query."""
    with SearchClient(url) as client:
        return [[hit.id for hit in client.query(query_D, limit=K, collection=collection, with_payload=False)] for query_D in queries_QD]


def recall_at_k(found: Sequence[Sequence[int]], exact_QK: Ints) -> float:
    """Give the share of the exact hits that were found, over all queries."""
    num_found = sum(len(set(ids) & set(exact_K.tolist())) for ids, exact_K in zip(found, exact_QK, strict=True))
    return num_found / exact_QK.size


def time_queries(url: str, queries_QD: Floats, collection: str, concurrency: int, num_queries: int) -> tuple[NDArray[np.float64], float]:
    """Ask in a closed loop; gives each query's seconds, and the seconds from the first to the last."""
    bodies = [orjson.dumps({"query": query_D.tolist(), "limit": K}) for query_D in queries_QD]
    return time_requests(url, f"/collections/{collection}/points/query", bodies, concurrency, num_queries)


def time_requests(url: str, path: str, bodies: Sequence[bytes], concurrency: int, num_queries: int) -> tuple[NDArray[np.float64], float]:
    """Post bodies in turn in a closed loop; gives each request's seconds, and the seconds from the first to the last.

    The clients are threads over bare HTTP connections: on a small machine a richer client would take the server's processor.
    """
    shares = np.array_split(np.arange(num_queries), concurrency)
    barrier = threading.Barrier(concurrency + 1)
    with ThreadPoolExecutor(concurrency) as pool:
        running = [pool.submit(_ask_share, url, path, [bodies[int(number) % len(bodies)] for number in share], barrier) for share in shares]
        barrier.wait(TIMEOUT_S)
        start_s = time.perf_counter()
        seconds = [one.result() for one in running]
        wall_s = time.perf_counter() - start_s
    return np.concatenate(seconds), wall_s


def _ask_share(url: str, path: str, bodies: Sequence[bytes], barrier: threading.Barrier) -> NDArray[np.float64]:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=TIMEOUT_S)
    try:
        connection.connect()
        barrier.wait(TIMEOUT_S)
        seconds = np.empty(len(bodies))
        for number, body in enumerate(bodies):
            start_s = time.perf_counter()
            _ask(connection, path, body)
            seconds[number] = time.perf_counter() - start_s
        return seconds
    finally:
        connection.close()


def _ask(connection: http.client.HTTPConnection, path: str, body: bytes) -> None:
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    if response.status != http.client.OK:
        raise ServerUnavailable(f"{path} answered {response.status}: {answer[:200]!r}")
