"""Recall, rate and latency of search on 50,000 generated rows through gateway, Triton and two shards with IVF indexes.

`python -m benchmarks.search_recall` prints one JSON object and writes benchmarks/results/search_recall.json.
"""

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa

from benchmarks.record import write_result
from reelspace.core.artifacts import write_artifact
from reelspace.core.store import LocalStore
from reelspace.demo.servers import running_servers
from reelspace.search.clustered import ClusteredVectors
from reelspace.search.compute.build import IndexSettings, Table, write_index
from reelspace.search.measure import Gallery, SearchFigures, measure_search
from reelspace.search.scheduling.promote import Promotion, promote
from reelspace.search.storage.layout import Collection, ShardManifest

NUM_ROWS = 50_000
NUM_QUERIES = 1000
NUM_SHARDS = 2
DIMENSION = 128
RECALL_BAR = 0.95


def promote_generated(store: LocalStore, gallery: Gallery, scratch: Path, num_shards: int = NUM_SHARDS) -> list[ShardManifest]:
    """Index rows and make them the promoted collection of a store of their own."""
    dimension = gallery.vectors_ND.shape[1]
    collection = Collection(name="videos", space_id="0" * 16, dimension=dimension, num_shards=num_shards, payload={"video_id": "int64"})
    table = Table(gallery.ids_N, gallery.vectors_ND, pa.table({"video_id": gallery.ids_N}))
    manifests = write_index(table, collection, IndexSettings(), scratch / "index")
    index = write_artifact(store, "index", scratch / "index", parents=(), code="", settings={})
    promote(store, Promotion(index, None, "videos"), scratch / "fetched")
    return manifests


def measure(
    place: Path, *, num_rows: int = NUM_ROWS, num_queries: int = NUM_QUERIES, seed: int = 0
) -> tuple[SearchFigures, list[ShardManifest]]:
    """Generate, index, promote, serve and measure in a directory of its own."""
    world = ClusteredVectors(DIMENSION, seed)
    gallery = Gallery(np.arange(num_rows, dtype=np.int64), world.rows(num_rows, "rows"))
    store = LocalStore(place / "store")
    manifests = promote_generated(store, gallery, place)
    with running_servers(store.url, place / "logs") as servers:
        return measure_search(servers.gateway_url, gallery, world.rows(num_queries, "queries")), manifests


def main() -> None:
    """Measure, and fail when recall misses its bar or a shard has no IVF index."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    with tempfile.TemporaryDirectory() as scratch:
        figures, manifests = measure(Path(scratch), seed=seed)
    shards = [orjson.loads(manifest.index.model_dump_json()) | {"num_rows": manifest.num_rows} for manifest in manifests]
    assert all(manifest.index.kind == "ivf_sq8" for manifest in manifests), "every shard is large enough for IVF"
    assert figures.recall_at_10 >= RECALL_BAR, f"recall at 10 is {figures.recall_at_10:.4f}, the bar is {RECALL_BAR}"
    values = {
        "unit": "recall at 10",
        **asdict(figures),
        "recall_bar": RECALL_BAR,
        "num_queries": NUM_QUERIES,
        "concurrency": 8,
        "shards": shards,
    }
    write_result("search_recall", values, seed=seed, packages=("faiss-cpu", "nvidia-pytriton", "tritonclient", "numpy"))


if __name__ == "__main__":
    main()
