"""Recall, rate and latency of search on 50,000 generated rows through gateway, Triton and two shards with IVF indexes.

`python benchmarks/search_recall.py` prints one JSON object and writes benchmarks/results/search_recall.json.
"""

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import write_result
from reelspace.demo.searching import COLLECTION, DIMENSION, NUM_GENERATED_ROWS, NUM_SHARDS, generated_servers
from reelspace.search.clustered import ClusteredVectors
from reelspace.search.measure import Gallery, SearchFigures, measure_search
from reelspace.search.storage.layout import ShardManifest, parse

NUM_QUERIES = 1000
CONCURRENCY = 8
RECALL_BAR = 0.95


def measure(place: Path, seed: int) -> tuple[SearchFigures, list[ShardManifest]]:
    """Generate, index, promote, serve and measure in a directory of its own; gives also the manifest of each shard."""
    world = ClusteredVectors(DIMENSION, seed)
    gallery = Gallery(np.arange(NUM_GENERATED_ROWS, dtype=np.int64), world.rows(NUM_GENERATED_ROWS, "gallery"))
    queries_QD = world.rows(NUM_QUERIES, "queries")
    with generated_servers(gallery, place, place / "logs") as servers:
        figures = measure_search(servers.gateway_url, gallery, queries_QD, collection=COLLECTION, concurrency=CONCURRENCY)
    paths = [place / "index" / "shards" / str(shard) / "manifest.json" for shard in range(NUM_SHARDS)]
    return figures, [parse(ShardManifest, path.read_bytes(), str(path)) for path in paths]


def main() -> None:
    """Measure, and fail when recall misses its bar or a shard has no IVF index."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    with tempfile.TemporaryDirectory() as scratch:
        figures, manifests = measure(Path(scratch), seed)
    assert all(manifest.vectors[""].index.kind == "ivf_sq8" for manifest in manifests), "every shard is large enough for IVF"
    assert figures.recall_at_10 >= RECALL_BAR, f"recall at 10 is {figures.recall_at_10:.4f}, the bar is {RECALL_BAR}"
    shards = [{"num_rows": manifest.num_rows} | manifest.vectors[""].index.model_dump(mode="json") for manifest in manifests]
    values = {"unit": "recall at 10", **asdict(figures), "recall_bar": RECALL_BAR, "num_queries": NUM_QUERIES, "concurrency": CONCURRENCY}
    write_result(
        "search_recall", values | {"shards": shards}, seed=seed, packages=("faiss-cpu", "nvidia-pytriton", "tritonclient", "numpy")
    )


if __name__ == "__main__":
    main()
