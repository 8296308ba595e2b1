"""Processor time per query over the number of rows, of our server and of bare faiss over the same index."""

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib import rcParams
from matplotlib.figure import Figure

from benchmarks.search_peers.comparison import Comparison
from benchmarks.search_peers.contender import Contender, Figures
from benchmarks.search_peers.imported import bare_faiss, import_rows, save_rows, searched, served
from benchmarks.search_peers.readings import Reading, by_round, summary
from benchmarks.search_peers.system import UNFILTERED, Floats, Rows
from benchmarks.search_peers.world import DIMENSION, SEED, World, exact
from reelspace.search.clustered import ClusteredVectors

GROWTH: Final = "growth"
CLIENTS: Final = 16
SYSTEMS: Final = {"reelspace": "gateway", "faiss": "bare faiss"}


def growth_case(num_rows: int) -> str:
    """Name the case of so many rows."""
    return f"{GROWTH} {num_rows // 1000}k"


def measure_growth(comparison: Comparison, num_queries: int) -> None:
    """Import the first rows of one stream, more each time, and search all collections in turns."""
    vectors = ClusteredVectors(DIMENSION, SEED)
    queries_QD, rows_ND = vectors.rows(num_queries, "queries"), vectors.rows(comparison.plan.growth[-1], "gallery")
    with ExitStack() as stack:
        contenders = {num: _served(comparison, rows_ND[:num], queries_QD, stack) for num in comparison.plan.growth}
        del rows_ND
        for turn in range(comparison.plan.rounds):
            for num, ones in contenders.items():
                measure = partial(_measure, comparison.plan.duration_s)
                comparison.take_turns(ones, [(growth_case(num), measure)], 1, turn)


def plot_growth(readings: Sequence[Reading], sizes: Sequence[int], path: Path) -> None:
    """Draw processor time per query over rows."""
    rcParams["svg.hashsalt"] = GROWTH
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for system, label in SYSTEMS.items():
        found = {num: list(by_round(readings, GROWTH, growth_case(num), system, "cpu_us").values()) for num in sizes}
        points = {num: summary(values)[0] for num, values in found.items() if values}
        axes.plot(list(points), list(points.values()), marker="o", label=label)
    axes.set(xscale="log", xlabel="rows", ylabel="processor microseconds per query", ylim=(0, None))
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def _served(comparison: Comparison, rows_ND: Floats, queries_QD: Floats, stack: ExitStack) -> list[Contender]:
    folder = comparison.new_folder(GROWTH, str(len(rows_ND)))
    contenders = []
    with comparison.noting_absence((GROWTH, GROWTH), f"{len(rows_ND)} rows"):
        file = save_rows(folder / "rows.npy", rows_ND)
        import_rows(file, str(folder / "data"))
        file.unlink()
        world = _world(rows_ND, queries_QD)
        contenders = [served(world, str(folder / "data"), folder, stack), bare_faiss(world, folder / "data", folder, stack)]
    # The vectors are let go of, also by views of them: a million rows take half a gigabyte.
    empty = _world(np.empty((0, DIMENSION), np.float32), queries_QD)
    return [dataclasses.replace(one, world=empty) for one in contenders]


def _world(rows_ND: Floats, queries_QD: Floats) -> World:
    rows = Rows(np.arange(len(rows_ND)), rows_ND, {})
    found_QK = {UNFILTERED: exact(rows, queries_QD, UNFILTERED)} if len(rows_ND) else {}
    return World(GROWTH, rows, queries_QD, rows[:0], found_QK)


def _measure(duration_s: float, contender: Contender) -> Figures:
    return searched(contender, CLIENTS, duration_s)
