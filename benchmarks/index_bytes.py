"""Bytes per vector, recall at 10 and seconds per query of every index type, at several numbers of rows.

`python benchmarks/index_bytes.py` prints one JSON object and writes benchmarks/results/index_bytes.json; `reelspace plan search` reads
reelspace/search/planning/measured.py, which holds the same figures. One thread; the seconds are the least of three passes over all
queries in one call, which is how a shard is asked. `bytes_per_vector` is the whole index as it is written, the vectors for re-ranking
left out; `points` are [effort, recall, seconds per query], where effort is lists visited or, in a graph, candidates kept. Every size has
`round(4 * sqrt(rows))` lists, as the engine builds them, trained once and shared by the types.

Legend: N rows, D dimension, Q queries, K hits.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import write_result
from reelspace.search.clustered import ClusteredVectors
from reelspace.search.compute.library import faiss

SIZES = (50_000, 100_000, 200_000, 500_000)
DIMENSION, NUM_QUERIES, K, PASSES = 128, 1000, 10, 3
PQ_BYTES, FAST_SCAN_PARTS, GRAPH_LINKS = 64, 64, 32
# Candidates per hit that are scored again with the float32 vectors.
PQ_FACTOR, FAST_SCAN_FACTOR = 10, 10
LISTS_VISITED = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CANDIDATES = (16, 32, 64, 128, 256, 512)
# Trains the lists on part of the rows: all of them would cost minutes and change the recall by less than the queries' noise.
POINTS_PER_LIST = 64
# The same of the 256 codes of each part of a product quantiser, and the rounds.
POINTS_PER_CODE, CODE_ROUNDS = 64, 15
Floats = NDArray[np.float32]
Search = Callable[[int], NDArray[np.int64]]


@dataclass(frozen=True)
class Asked:
    """The rows of one size, the queries, and their exact answers."""

    rows_ND: Floats
    queries_QD: Floats
    exact_QK: NDArray[np.int64]


def main() -> None:
    """Measure every type at every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    faiss.omp_set_num_threads(1)
    world = ClusteredVectors(DIMENSION, seed)
    rows_ND, queries_QD = world.rows(max(SIZES), "gallery"), world.rows(NUM_QUERIES, "queries")
    curves: dict[str, dict[str, Any]] = {}
    for num_rows in SIZES:
        for kind, curve in measure(rows_ND[:num_rows], queries_QD):
            curves.setdefault(kind, {})[str(num_rows)] = curve
            print(f"{num_rows:>8} {kind:<20} {curve['bytes_per_vector']:7.2f} {curve['points']}", file=sys.stderr)
    values = {
        "unit": "bytes per vector",
        "dimension": DIMENSION,
        "num_queries": NUM_QUERIES,
        "rerank_factors": {"ivf_pq64_reranked": PQ_FACTOR, "ivf_pq_fastscan": FAST_SCAN_FACTOR},
        "curves": curves,
    }
    write_result("index_bytes", values, seed=seed, packages=("faiss-cpu", "numpy"))


def measure(rows_ND: Floats, queries_QD: Floats) -> Iterator[tuple[str, dict[str, Any]]]:
    """Build and measure all types over some rows."""
    flat = faiss.IndexFlatIP(DIMENSION)
    flat.add(rows_ND)
    asked = Asked(rows_ND, queries_QD, flat.search(queries_QD, K)[1])
    yield "flat", curve(flat, asked, (1,), lambda _: flat.search(queries_QD, K)[1]) | {"alone_seconds": alone_seconds(flat, queries_QD)}
    coded = faiss.index_factory(DIMENSION, f"IVF{round(4 * np.sqrt(len(rows_ND)))},SQ8", faiss.METRIC_INNER_PRODUCT)
    coded.cp.max_points_per_centroid = POINTS_PER_LIST
    coded.train(rows_ND)
    coded.add(rows_ND)
    lists = (coded.quantizer, DIMENSION, coded.nlist)
    yield "ivf_sq8", curve(coded, asked, LISTS_VISITED, lists_search(coded, queries_QD))
    products = faiss.IndexIVFPQ(*lists, PQ_BYTES, 8, faiss.METRIC_INNER_PRODUCT)
    filled(products, rows_ND)
    yield "ivf_pq64", curve(products, asked, LISTS_VISITED, lists_search(products, queries_QD))
    yield "ivf_pq64_reranked", curve(products, asked, LISTS_VISITED, reranked_search(products, asked, PQ_FACTOR))
    scanned = faiss.IndexIVFPQFastScan(*lists, FAST_SCAN_PARTS, 4, faiss.METRIC_INNER_PRODUCT)
    filled(scanned, rows_ND)
    yield "ivf_pq_fastscan", curve(scanned, asked, LISTS_VISITED, reranked_search(scanned, asked, FAST_SCAN_FACTOR))
    graph = faiss.IndexHNSWFlat(DIMENSION, GRAPH_LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.add(rows_ND)
    yield "hnsw", curve(graph, asked, CANDIDATES, lambda effort: _graph_rows_QK(graph, queries_QD, effort))


def filled(index: Any, rows_ND: Floats) -> None:
    """Train the codes of an index, whose lists are trained already, and add the rows."""
    index.own_fields = False
    index.pq.cp.max_points_per_centroid, index.pq.cp.niter = POINTS_PER_CODE, CODE_ROUNDS
    index.train(rows_ND)
    index.add(rows_ND)


def curve(index: Any, asked: Asked, efforts: tuple[int, ...], search: Search) -> dict[str, Any]:
    """Measure an index at every effort that is at most half of its lists."""
    most = getattr(index, "nlist", 2 * max(efforts)) // 2
    points = [[effort, *timed(search, effort, asked.exact_QK)] for effort in efforts if effort <= most]
    return {"bytes_per_vector": round(len(faiss.serialize_index(index)) / len(asked.rows_ND), 3), "points": points}


def timed(search: Search, effort: int, exact_QK: NDArray[np.int64]) -> tuple[float, float]:
    """Give the recall of an effort, and the seconds per query."""
    seconds, found_QK = [], exact_QK
    for _ in range(PASSES):
        begun_s = time.process_time()
        found_QK = search(effort)
        seconds.append((time.process_time() - begun_s) / len(exact_QK))
    hits = sum(len(np.intersect1d(found_K, exact_K)) for found_K, exact_K in zip(found_QK, exact_QK, strict=True))
    return round(hits / exact_QK.size, 4), float(f"{min(seconds):.3g}")


def alone_seconds(flat: Any, queries_QD: Floats) -> float:
    """Give the seconds of a query that comes alone, so that every row is read for it."""
    begun_s = time.process_time()
    for query_D in queries_QD[:50]:
        flat.search(query_D[None], K)
    return float(f"{(time.process_time() - begun_s) / 50:.3g}")


def lists_search(index: Any, queries_QD: Floats, k: int = K) -> Search:
    """Search by visiting some lists."""
    return lambda effort: index.search(queries_QD, k, params=faiss.SearchParametersIVF(nprobe=effort))[1]


def reranked_search(index: Any, asked: Asked, factor: int) -> Search:
    """Search by visiting some lists, then score `factor` candidates per hit again with their vectors."""
    refined = faiss.IndexRefineFlat(index, faiss.swig_ptr(asked.rows_ND))
    refined.own_fields = False

    def search(effort: int) -> NDArray[np.int64]:
        inner = faiss.SearchParametersIVF(nprobe=effort)
        found: NDArray[np.int64] = refined.search(
            asked.queries_QD, K, params=faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=inner)
        )[1]
        return found

    return search


def _graph_rows_QK(graph: Any, queries_QD: Floats, effort: int) -> NDArray[np.int64]:
    found: NDArray[np.int64] = graph.search(queries_QD, K, params=faiss.SearchParametersHNSW(efSearch=effort))[1]
    return found


if __name__ == "__main__":
    main()
