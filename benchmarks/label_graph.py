"""What one training step of the label-graph head costs with 10,000, 100,000 and 1,000,000 labels: rows read, seconds, memory.

Label vectors lie in a memory-mapped file. Each size runs in a process of its own, on three generated power-law graphs of 5 neighbours on
average: `directed`, whose rows are bounded as those of p_ij >= tau are (a label's works carry few labels each, so few reach tau) while
popular labels are neighbours of very many; `both_ways`, where popular labels also have very many neighbours, without and with a cap.
The fewer the labels, the more neighbours the sampled ones share, so the different rows that a step reads rise with the number of labels
towards a bound: its walks, the ways of two edges that start at sampled labels, counted each. Walks are what must not grow.
Pages of the file that a step mapped count as memory of the process; they are a cache that the system takes back, so they are told apart.

`python benchmarks/label_graph.py` prints one JSON object and writes benchmarks/results/label_graph.json.
"""

import argparse
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import write_result
from reelspace.core.rng import rng
from reelspace.model.label_graph import LabelGraphNetwork, SparseRows, sparse_rows
from reelspace.signals.label_graph import LabelGraph, sparse_adjacency
from reelspace.signals.settings import GraphSettings

SIZES = (10_000, 100_000, 1_000_000)
DIMENSION, HIDDEN, NUM_SAMPLED, NUM_WORKS = 128, 256, 4096, 256
WARM_STEPS, STEPS = 2, 10
MEAN_NEIGHBOURS, MOST_IN_A_ROW, CAP = 5.0, 50, 16
POPULARITY = -2 / 3  # weight of the label at a rank: rank to this power, which gives degrees the exponent 2.5
BAR_GROWTH_OF_WALKS = 1.1
GROWING = ("rows_touched", "walks", "seconds", "growth_without_file_mib")
GRAPHS = ("directed", "both_ways", "both_ways_capped")


@dataclass(frozen=True, slots=True)
class StepCost:
    """Medians over steps; memory in MiB, growth is from before the first step to the highest moment of any."""

    graph: str
    num_labels: int
    num_entries: int
    longest_row: int
    rows_touched: int
    walks: int
    seconds: float
    slowest_seconds: float
    adjacency_mib: float
    table_mib: float
    growth_mib: float
    growth_without_file_mib: float


@dataclass(slots=True)
class Table:
    """Label vectors in a file, which tells how many rows were read."""

    vectors_KD: NDArray[np.float32]
    num_read: int = field(default=0)

    def rows(self, labels_N: Tensor) -> Tensor:
        """Read some rows."""
        self.num_read += len(labels_N)
        return torch.from_numpy(self.vectors_KD[labels_N.numpy()])


def popular(num_labels: int, size: int, seed: int, name: str) -> NDArray[np.int64]:
    """Draw labels by their popularity; numbers say nothing of ranks, so that rows of neighbours lie anywhere in the file."""
    summed = np.cumsum(np.arange(1, num_labels + 1, dtype=np.float64) ** POPULARITY)
    ranks = np.searchsorted(summed, rng(seed, name, num_labels).random(size) * summed[-1])
    return rng(seed, "numbers", num_labels).permutation(num_labels)[ranks]


def generated_graph(kind: str, num_labels: int, seed: int) -> LabelGraph:
    """Edges of p 0.5, and for `directed` their reverses of p 0.01."""
    if kind == "directed":
        # Power law of exponent 2.5; 1.95 gives the mean of MEAN_NEIGHBOURS after rounding and the bound.
        draws = 1.95 * rng(seed, "row", num_labels).random(num_labels) ** (-1 / 1.5)
        length_L = np.minimum(draws.round().astype(np.int64), MOST_IN_A_ROW)
        i_G = np.repeat(np.arange(num_labels), length_L)
        j_G = popular(num_labels, len(i_G), seed, "column")
    else:
        num_pairs = int(MEAN_NEIGHBOURS * num_labels / 2)
        first, second = (popular(num_labels, num_pairs, seed, name) for name in ("first", "second"))
        i_G, j_G = np.concatenate([first, second]), np.concatenate([second, first])
    codes = np.unique((i_G * num_labels + j_G)[i_G != j_G])
    both = np.union1d(codes, codes % num_labels * num_labels + codes // num_labels)
    p_G = np.where(np.isin(both, codes), 0.5, 0.01).astype(np.float32)
    return LabelGraph(both // num_labels, both % num_labels, np.full(len(both), 2), p_G)


def adjacency_of(kind: str, num_labels: int, seed: int) -> SparseRows:
    """Make the adjacency as a run does."""
    arrays = sparse_adjacency(generated_graph(kind, num_labels, seed), num_labels, GraphSettings(tau=0.3))
    rows = sparse_rows(arrays.start_L1, arrays.column_A, arrays.value_A)
    return rows.strongest(CAP) if kind == "both_ways_capped" else rows


def write_table(path: Path, num_labels: int, seed: int) -> None:
    """Write vectors of length about 1, a part at a time."""
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(num_labels, DIMENSION))
    for start in range(0, num_labels, 100_000):
        part = file[start : start + 100_000]
        part[:] = rng(seed, "vectors", num_labels, start).standard_normal(part.shape, dtype=np.float32) / np.sqrt(DIMENSION)
    file.flush()


def memory_mib() -> tuple[float, float]:
    """Give this process's memory now: all of it, and without mapped files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) / 1024, int(lines["RssAnon"].split()[0]) / 1024


@contextmanager
def watched_memory(highest_mib: list[float]) -> Iterator[None]:
    """Raise the two numbers of `memory_mib` to the highest seen every 2 ms."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.002):
            highest_mib[:] = [max(pair) for pair in zip(highest_mib, memory_mib(), strict=True)]

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def train_steps(network: LabelGraphNetwork, table: Table, num_labels: int, seed: int) -> tuple[list[float], list[int], list[int]]:
    """Train on random labels of random works; gives seconds, rows read and walks of each step after the warm ones."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    length_K = network.adjacency.start_K1.diff()
    seconds, rows, walks = [], [], []
    for step in range(WARM_STEPS + STEPS):
        draw = rng(seed, "step", step)
        labels_S = torch.from_numpy(draw.integers(0, num_labels, NUM_SAMPLED))
        works_BD = functional.normalize(torch.from_numpy(draw.standard_normal((NUM_WORKS, DIMENSION), dtype=np.float32)), dim=1)
        target_BS = torch.from_numpy(draw.random((NUM_WORKS, NUM_SAMPLED)) < 0.01).float()
        table.num_read, start_s = 0, time.perf_counter()
        loss = functional.binary_cross_entropy_with_logits(works_BD @ network(table.rows, labels_S).T, target_BS)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seconds.append(time.perf_counter() - start_s)
        rows.append(table.num_read)
        walks.append(int(length_K[network.adjacency.entries(labels_S).column_E].sum()))
    return seconds[WARM_STEPS:], rows[WARM_STEPS:], walks[WARM_STEPS:]


def measure(kind: str, num_labels: int, path: str, seed: int) -> StepCost:
    """Measure one size on one graph; to be run in a process of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    adjacency = adjacency_of(kind, num_labels, seed)
    network = LabelGraphNetwork(DIMENSION, HIDDEN, adjacency, residual=False)
    table = Table(np.load(path, mmap_mode="r"))
    before_mib = memory_mib()
    highest_mib = list(before_mib)
    with watched_memory(highest_mib):
        seconds, rows, walks = train_steps(network, table, num_labels, seed)
    sizes = (each.numel() * each.element_size() for each in (adjacency.start_K1, adjacency.column_E, adjacency.value_E))
    return StepCost(
        graph=kind,
        num_labels=num_labels,
        num_entries=len(adjacency.column_E),
        longest_row=int(adjacency.start_K1.diff().max()),
        rows_touched=int(np.median(rows)),
        walks=int(np.median(walks)),
        seconds=round(float(np.median(seconds)), 4),
        slowest_seconds=round(max(seconds), 4),
        adjacency_mib=round(sum(sizes) / 2**20, 1),
        table_mib=round(Path(path).stat().st_size / 2**20, 1),
        growth_mib=round(highest_mib[0] - before_mib[0], 1),
        growth_without_file_mib=round(highest_mib[1] - before_mib[1], 1),
    )


def main() -> None:
    """Measure all, and fail when a bounded graph makes a step follow more edges with 1,000,000 labels than with 100,000."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    costs = []
    with tempfile.TemporaryDirectory() as scratch, multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for num_labels in SIZES:
            path = Path(scratch) / f"{num_labels}.npy"
            write_table(path, num_labels, seed)
            for kind in GRAPHS:
                costs.append(pool.apply(measure, (kind, num_labels, str(path), seed)))
                print(costs[-1], file=sys.stderr)
            path.unlink()
    cost_of = {(cost.graph, cost.num_labels): cost for cost in costs}
    growth = {}
    for kind in GRAPHS:
        less, more = (cost_of[kind, num_labels] for num_labels in SIZES[1:])
        growth[kind] = {name: round(getattr(more, name) / getattr(less, name), 3) for name in GROWING}
    walks = growth["directed"]["walks"]
    assert walks <= BAR_GROWTH_OF_WALKS, f"walks of a step grew {walks} times from {SIZES[1]:,} to {SIZES[2]:,} labels"
    values = {
        "unit": "seconds per step",
        "dimension": DIMENSION,
        "hidden": HIDDEN,
        "sampled_labels": NUM_SAMPLED,
        "works": NUM_WORKS,
        "steps": STEPS,
        "threads": 1,
        "cap": CAP,
        "growth_from_100000_to_1000000_labels": growth,
        "bar_growth_of_walks_directed": BAR_GROWTH_OF_WALKS,
        "costs": [asdict(cost) for cost in costs],
    }
    write_result("label_graph", values, seed=seed, packages=("torch", "numpy"))


if __name__ == "__main__":
    main()
