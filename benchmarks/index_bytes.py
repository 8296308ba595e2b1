"""Bytes per vector, recall at 10 and seconds per query of every index type, at several numbers of rows.

`python benchmarks/index_bytes.py` prints one JSON object and writes benchmarks/results/index_bytes.json; `reelspace plan search` reads
reelspace/search/planning/measured.py, which holds the same figures. One thread; the seconds are the least of three passes over all
queries in one call, which is how a shard is asked. `bytes_per_vector` is the whole index as it is written, the vectors for re-ranking
left out; `points` are [effort, recall, seconds per query], where effort is lists visited or, in a graph, candidates kept. The engine
builds every index, from its settings to its lists; only an exact search is of faiss alone.

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
from reelspace.search.compute.build import BuildVectors, IndexSettings, indexed
from reelspace.search.compute.library import faiss
from reelspace.search.storage.layout import IndexKind, VectorSettings

SIZES = (50_000, 100_000, 200_000, 500_000)
DIMENSION, NUM_QUERIES, K, PASSES = 128, 1000, 10, 3
# Candidates per hit that are scored again with the float32 vectors; the engine takes ten and eight to spare from a graph.
PQ_FACTOR, FAST_SCAN_FACTOR, GRAPH_FACTOR = 10, 10, 2
LISTS_VISITED = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CANDIDATES = (16, 32, 64, 128, 256, 512)
# Which effort the engine would choose is no matter: all are measured.
ANY_EFFORT = IndexSettings(recall_target=0.01, num_recall_queries=16)
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
        "rerank_factors": {"ivf_pq64_reranked": PQ_FACTOR, "ivf_pq_fastscan": FAST_SCAN_FACTOR, "hnsw": GRAPH_FACTOR},
        "curves": curves,
    }
    write_result("index_bytes", values, seed=seed, packages=("faiss-cpu", "numpy"))


def measure(rows_ND: Floats, queries_QD: Floats) -> Iterator[tuple[str, dict[str, Any]]]:
    """Build and measure all types over some rows."""
    flat = faiss.IndexFlatIP(DIMENSION)
    flat.add(rows_ND)
    asked = Asked(rows_ND, queries_QD, flat.search(queries_QD, K)[1])
    yield "flat", curve(flat, asked, (1,), lambda _: flat.search(queries_QD, K)[1]) | {"alone_seconds": alone_seconds(flat, queries_QD)}
    coded = built(rows_ND, "ivf_sq8")
    yield "ivf_sq8", curve(coded, asked, LISTS_VISITED, lists_search(coded, queries_QD))
    products = built(rows_ND, "ivf_pq")
    yield "ivf_pq64", curve(products, asked, LISTS_VISITED, lists_search(products, queries_QD))
    yield "ivf_pq64_reranked", curve(products, asked, LISTS_VISITED, reranked_search(products, asked, PQ_FACTOR))
    scanned = built(rows_ND, "ivf_pqfs")
    yield "ivf_pq_fastscan", curve(scanned, asked, LISTS_VISITED, reranked_search(scanned, asked, FAST_SCAN_FACTOR))
    graph = built(rows_ND, "hnsw")
    yield "hnsw", curve(graph, asked, CANDIDATES, reranked_search(graph, asked, GRAPH_FACTOR))


def built(rows_ND: Floats, kind: IndexKind) -> Any:
    """Give the index that the engine builds, one thread."""
    return indexed(BuildVectors(VectorSettings(dimension=DIMENSION), rows_ND), kind, ANY_EFFORT).index


def curve(index: Any, asked: Asked, efforts: tuple[int, ...], search: Search) -> dict[str, Any]:
    """Measure an index at every effort that is at most half of its lists."""
    num_lists = getattr(index, "nlist", None)
    points = [[effort, *timed(search, effort, asked.exact_QK)] for effort in efforts if num_lists is None or effort <= num_lists // 2]
    size_bytes = len(faiss.serialize_index(index))
    return {"bytes_per_vector": round(size_bytes / len(asked.rows_ND), 3), "num_lists": num_lists, "points": points}


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
    """Search with some effort, then score `factor` candidates per hit again with their vectors."""
    refined = faiss.IndexRefineFlat(index, faiss.swig_ptr(asked.rows_ND))
    refined.own_fields = False

    def search(effort: int) -> NDArray[np.int64]:
        inner = faiss.SearchParametersIVF(nprobe=effort) if hasattr(index, "nlist") else faiss.SearchParametersHNSW(efSearch=effort)
        found: NDArray[np.int64] = refined.search(
            asked.queries_QD, K, params=faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=inner)
        )[1]
        return found

    return search


if __name__ == "__main__":
    main()
