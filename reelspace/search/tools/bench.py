"""Measures search on a collection's own vectors: recall against brute force over all of its rows, rate and latency.

Legend: N rows, Q queries, K hits, D dimension.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from reelspace.core.errors import UserError
from reelspace.core.rng import rng
from reelspace.search.embedded import EmbeddedCollection
from reelspace.search.measure import time_requests
from reelspace.search.storage.ids import Id
from reelspace.search.storage.layout import Metric
from reelspace.search.tables.batch import Batch
from reelspace.search.tools.gateway import Gateway, id_of
from reelspace.search.tools.source import Source

K: Final = 10
Floats = NDArray[np.float32]
Ask = Callable[[Floats, int], Sequence[Id]]
"""Gives the ids of so many hits of one query."""


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What is measured: vectors of which name, how many sampled rows as queries, clients at a time, and timed queries."""

    vector: str
    num_sampled: int = 200
    concurrency: int = 8
    num_queries: int = 2000


@dataclass(frozen=True, slots=True)
class BenchFigures:
    """Rows searched, recall at 10 of sampled rows without themselves, answered queries per second, latency in milliseconds."""

    rows: int
    recall_at_10: float
    queries_per_second: float
    p50_ms: float
    p99_ms: float
    concurrency: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows that are asked for, and for each the ids of its nearest others by brute force; `num_rows` are all rows."""

    ids: Sequence[Id]
    queries_QD: Floats
    exact: Sequence[Sequence[Id]]
    num_rows: int


def bench_gateway(gateway: Gateway, name: str, source: Source, plan: BenchPlan) -> BenchFigures:
    """Measure a running gateway over HTTP."""
    sample = draw_sample(source, plan)
    path = f"/collections/{name}/points/query"
    using = {"using": plan.vector} if plan.vector else {}

    def ask(query_D: Floats, k: int) -> list[Id]:
        return [id_of(point["id"]) for point in gateway.ask("POST", path, {"query": query_D, "limit": k, **using})["points"]]

    recall = _recall(sample, ask)
    bodies = [orjson.dumps({"query": query_D.tolist(), "limit": K, **using}) for query_D in sample.queries_QD]
    return _figures(sample, recall, *time_requests(gateway.url, path, bodies, plan.concurrency, plan.num_queries), plan)


def bench_embedded(collection: EmbeddedCollection, source: Source, plan: BenchPlan) -> BenchFigures:
    """Measure the engine in this process, called by as many threads."""
    sample = draw_sample(source, plan)

    def ask(query_D: Floats, k: int) -> list[Id]:
        return [hit.id for hit in collection.search(query_D, k, using=plan.vector)]

    return _figures(sample, _recall(sample, ask), *_time_calls(sample, ask, plan), plan)


def draw_sample(source: Source, plan: BenchPlan) -> Sample:
    """Choose rows at random and rank all others for each; reads the collection twice, a batch at a time.

    Raises:
        UserError: the collection has fewer than two rows.
    """
    settings = source.vectors[plan.vector]
    ids, queries_QD, num_rows = _chosen(source, plan)
    if num_rows < 2:
        raise UserError(f"the collection has {num_rows} rows: nothing to compare")
    best: list[list[tuple[float, Id]]] = [[] for _ in ids]
    for batch in source.read([plan.vector]):
        scores_QN = _scores(queries_QD, batch.vectors[plan.vector], settings.metric)
        for number, scores_N in enumerate(scores_QN):
            places = np.argsort(-scores_N, kind="stable")[: K + 1].tolist()
            found = [(float(scores_N[place]), batch.ids[place]) for place in places if batch.ids[place] != ids[number]]
            best[number] = sorted([*best[number], *found], key=lambda pair: -pair[0])[:K]
    return Sample(ids, queries_QD, [[id for _, id in one] for one in best], num_rows)


def _chosen(source: Source, plan: BenchPlan) -> tuple[list[Id], Floats, int]:
    """Keep each row with the same chance: those with the smallest random numbers."""
    draw, num_rows = rng(0, "bench"), 0
    kept: list[tuple[float, Id, Floats]] = []
    for batch in source.read([plan.vector]):
        num_rows += len(batch.ids)
        kept += _lucky(draw, batch, plan)
        kept = sorted(kept, key=lambda one: one[0])[: plan.num_sampled]
    dimension = source.vectors[plan.vector].dimension
    return [id for _, id, _ in kept], np.array([vector_D for *_, vector_D in kept], dtype=np.float32).reshape(-1, dimension), num_rows


def _lucky(draw: np.random.Generator, batch: Batch, plan: BenchPlan) -> list[tuple[float, Id, Floats]]:
    chances_N = draw.random(len(batch.ids))
    places = np.argsort(chances_N)[: plan.num_sampled].tolist()
    return [(float(chances_N[place]), batch.ids[place], batch.vectors[plan.vector][place]) for place in places]


def _scores(queries_QD: Floats, vectors_ND: Floats, metric: Metric) -> NDArray[np.float64]:
    wide_QD, wide_ND = queries_QD.astype(np.float64), vectors_ND.astype(np.float64)
    scores_QN: NDArray[np.float64] = wide_QD @ wide_ND.T
    if metric == "euclid":
        scores_QN = 2 * scores_QN - np.einsum("nd,nd->n", wide_ND, wide_ND)
    return scores_QN


def _recall(sample: Sample, ask: Ask) -> float:
    """Ask for one hit more than is compared, for the row itself is among them."""
    num_found = num_wanted = 0
    for id, query_D, exact in zip(sample.ids, sample.queries_QD, sample.exact, strict=True):
        found = [one for one in ask(query_D, K + 1) if one != id][:K]
        num_found += len(set(found) & set(exact))
        num_wanted += len(exact)
    return num_found / num_wanted


def _time_calls(sample: Sample, ask: Ask, plan: BenchPlan) -> tuple[NDArray[np.float64], float]:
    """Call in a closed loop; gives each call's seconds, and the seconds from the first to the last."""
    barrier = threading.Barrier(plan.concurrency + 1)

    def run(share: NDArray[np.int64]) -> list[float]:
        seconds = []
        barrier.wait()
        for number in share.tolist():
            start_s = time.perf_counter()
            ask(sample.queries_QD[number % len(sample.queries_QD)], K)
            seconds.append(time.perf_counter() - start_s)
        return seconds

    with ThreadPoolExecutor(plan.concurrency) as pool:
        running = [pool.submit(run, share) for share in np.array_split(np.arange(plan.num_queries), plan.concurrency)]
        barrier.wait()
        start_s = time.perf_counter()
        seconds = [one for share in running for one in share.result()]
        return np.array(seconds), time.perf_counter() - start_s


def _figures(sample: Sample, recall: float, seconds_Q: NDArray[np.float64], wall_s: float, plan: BenchPlan) -> BenchFigures:
    p50_s, p99_s = np.percentile(seconds_Q, [50, 99])
    return BenchFigures(sample.num_rows, recall, len(seconds_Q) / wall_s, float(p50_s) * 1000, float(p99_s) * 1000, plan.concurrency)


def line(figures: BenchFigures) -> str:
    """Tell the figures."""
    return (
        f"{figures.rows:,} rows: recall at {K} {figures.recall_at_10:.4f}, {figures.queries_per_second:,.0f} queries/s, "
        f"p50 {figures.p50_ms:.2f} ms, p99 {figures.p99_ms:.2f} ms, {figures.concurrency} at a time"
    )


def vector_of(source: Source, name: str | None) -> str:
    """Give the name of the vectors to search: the one asked for, or the only one there is."""
    names: Any = source.names(name)
    if len(names) != 1:
        raise UserError(f"expected --vector, one of {', '.join(map(repr, names))}")
    return str(names[0])
