"""Queries a second of one shard on a GPU beside the same shard on this machine's processor, and beside faiss alone on the same GPU.

`python benchmarks/search_gpu.py` prints one JSON object and writes benchmarks/results/search_gpu.json, with a faiss that has cuVS
search_gpu_cuvs.json; without a GPU, or with a faiss that sees none, it says so and measures nothing. In every round each of them is asked
the same queries, one after the other; ratios are those within a round. Recall is against an exact search by torch on the GPU. What
`reelspace plan search` estimates for this GPU is beside it.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import write_result
from reelspace.search.clustered import ClusteredVectors
from reelspace.search.compute.build import IndexSettings, Table, build_parts, checked_table, rows_of_table
from reelspace.search.compute.filters import Filter, NumberRange, encode_filter
from reelspace.search.compute.library import faiss
from reelspace.search.compute.place import place
from reelspace.search.compute.shard import Shard
from reelspace.search.planning.effort import gpu_seconds
from reelspace.search.planning.settings import GpuMachine
from reelspace.search.storage.layout import VectorSettings

DIMENSION, K = 128, 10
BATCHES = (1, 16, 128, 1000)
SHARES = (1.0, 0.5, 0.1, 0.01)
NUM_ROUNDS = 5
ROUND_QUERIES = 4000
LONE_QUERIES = 500
EXACT_QUERIES = 1000

Vectors = NDArray[np.float32]
Search = Callable[[Vectors], object]


@dataclass(frozen=True)
class World:
    """A shard on both, its rows and queries."""

    own: Shard
    gpu: Shard
    table: Table
    queries_QD: Vectors

    def where(self, share: float) -> bytes:
        """Give a filter that allows a share of the rows."""
        limit = int(share * len(self.table.ids_N))
        return b"" if share == 1.0 else encode_filter(Filter(must=(NumberRange("number", lt=float(limit)),)))

    def recall(self, shard: Shard, share: float) -> float:
        """Give the share of the exact best that a shard finds."""
        queries_QD = self.queries_QD[:EXACT_QUERIES]
        rows_QK = shard.search(queries_QD, K, where=self.where(share)).rows_QK
        allowed = torch.from_numpy(self.table.vectors_ND[: int(share * len(self.table.ids_N))]).cuda()
        exact_QK = (torch.from_numpy(queries_QD).cuda() @ allowed.T).topk(K).indices.cpu().numpy()
        return float(np.mean([len(set(found) & set(best)) / K for found, best in zip(rows_QK.tolist(), exact_QK.tolist(), strict=True)]))


def make_world(num_rows: int, seed: int, num_threads: int) -> World:
    """Generate rows whose number is their id, index them, and put them on both."""
    clusters = ClusteredVectors(DIMENSION, seed)
    ids_N = np.arange(num_rows, dtype=np.int64)
    table = checked_table(Table(ids_N, clusters.rows(num_rows, "gallery"), pa.table({"number": ids_N})))
    parts = build_parts(
        rows_of_table(table, VectorSettings(dimension=DIMENSION)), IndexSettings(recall_target=0.95, num_threads=num_threads)
    )
    own, gpu = Shard(parts, None, num_threads), Shard(parts, 0, num_threads)
    return World(own, gpu, table, clusters.rows(ROUND_QUERIES + EXACT_QUERIES, "queries"))


def rate(search: Search, queries_QD: Vectors, batch: int) -> float:
    """Ask in batches, one after the other; gives queries a second."""
    num = LONE_QUERIES if batch == 1 else ROUND_QUERIES
    begun_s = time.perf_counter()
    for start in range(0, num, batch):
        search(queries_QD[start : start + batch])
    return num / (time.perf_counter() - begun_s)


def rates(searches: Mapping[str, Search], queries_QD: Vectors, batch: int) -> dict[str, Any]:
    """Measure them beside each other in rounds; gives median rates, and ratios of the first to the others with their ranges."""
    for search in searches.values():
        search(queries_QD[:batch])
    rounds = [{name: rate(search, queries_QD, batch) for name, search in searches.items()} for _ in range(NUM_ROUNDS)]
    first, *others = searches
    found: dict[str, Any] = {name: round(statistics.median(one[name] for one in rounds), 1) for name in searches}
    for other in others:
        ratios = [one[first] / one[other] for one in rounds]
        found[f"{first}_to_{other}"] = [round(one, 3) for one in (statistics.median(ratios), min(ratios), max(ratios))]
    return found


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=16, help="threads of the processor's searches")
    parser.add_argument("--bandwidth-gb-s", type=float, default=3350.0, help="the GPU's; 3350 for an H100 SXM")
    parser.add_argument("--tflops", type=float, default=67.0, help="the GPU's in float32; 67 for an H100 SXM")
    arguments = parser.parse_args()
    if not getattr(faiss, "get_num_gpus", int)() or not torch.cuda.is_available():
        print("no GPU: nothing is measured", file=sys.stderr)
        return 0
    world = make_world(arguments.rows, arguments.seed, arguments.threads)
    facts, queries_QD = world.own.indexes[""].facts.index, world.queries_QD[EXACT_QUERIES:]
    bare = place(world.own.indexes[""].sealed_index, 0).index
    reach = faiss.SearchParametersIVF(nprobe=facts.effort)
    by_batch = {}
    for batch in BATCHES:
        searches: dict[str, Search] = {
            "gpu": lambda some: world.gpu.search(some, K),
            "processor": lambda some: world.own.search(some, K),
            "faiss": lambda some: bare.search(some, K, params=reach),
        }
        by_batch[str(batch)] = rates(searches, queries_QD, batch)
    by_share = {}
    for share in SHARES:
        where = world.where(share)
        both: dict[str, Search] = {
            "gpu": lambda some, where=where: world.gpu.search(some, K, where=where),
            "processor": lambda some, where=where: world.own.search(some, K, where=where),
        }
        recalls = {"recall_gpu": round(world.recall(world.gpu, share), 4), "recall_processor": round(world.recall(world.own, share), 4)}
        by_share[str(share)] = rates(both, queries_QD, 1000) | recalls
    machine = GpuMachine(bandwidth_gb_s=arguments.bandwidth_gb_s, tflops=arguments.tflops, batch=1000)
    estimate_s = gpu_seconds("ivf_sq8", DIMENSION, arguments.rows, facts.effort or 0, machine)
    values = {
        "unit": "queries/s",
        "rows": arguments.rows,
        "dimension": DIMENSION,
        "k": K,
        "threads": arguments.threads,
        "gpu": torch.cuda.get_device_name(),
        "faiss": f"{faiss.__version__} {faiss.get_compile_options()}",
        "index": facts.model_dump(mode="json", include={"kind", "nlist", "effort", "recall_at_10"}),
        "batches": by_batch,
        "filtered_in_batches_of_1000": by_share,
        "planned_queries_per_s": round(1 / estimate_s),
    }
    write_result("search_gpu_cuvs" if "CUVS" in values["faiss"] else "search_gpu", values, seed=arguments.seed, packages=("numpy", "torch"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
