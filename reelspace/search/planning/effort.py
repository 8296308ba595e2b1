"""Recall and time of a query: measured up to half a million rows, continued beyond.

Beyond the largest measurement: an exact search takes as long as it has rows; lists (2.5 sqrt(n) of them, equally many visited) hold
sqrt(n) / 2.5 vectors each, so time grows like sqrt(n); a graph's like log(n). The best recall of a type falls by what it fell between
the smallest and the largest measurement for every tenfold of rows: a code's error stays while the nearest come nearer to each other.
Where candidates are scored again, those of a graph among them, only the rows of a shard count: each shard brings its own candidates.

Legend: n rows of a shard.
"""

import math
from dataclasses import dataclass
from typing import Final

from reelspace.search.compute.lists import num_lists
from reelspace.search.planning.index_bytes import PQ_BYTES
from reelspace.search.planning.measured import ALONE_SECONDS, CURVES, DIMENSION, Curve, Kind, Point
from reelspace.search.planning.settings import GpuMachine

ON_GPU: Final[tuple[Kind, ...]] = ("flat", "ivf_sq8", "ivf_pq64", "ivf_pq64_reranked")
# What misses its target is not made slower for less than this.
_LITTLE: Final = 0.002
_PER_SHARD: Final[tuple[Kind, ...]] = ("ivf_pq64_reranked", "ivf_pq_fastscan", "hnsw")


@dataclass(frozen=True, slots=True)
class Effort:
    """How a shard is searched for a target.

    Args:
        measured: the setting, with what it gave at `measured_rows`.
        recall: what it gives at the size that was asked for: the measured one less `fall` for each of `tenfolds`.
        seconds: of one core, per query and shard: the measured ones times `growth`, and longer for longer vectors.
    """

    measured: Point
    measured_rows: int
    fall: float
    tenfolds: float
    recall: float
    reaches: bool
    growth: float
    seconds: float


def effort(kind: Kind, dimension: int, rows: int, shard_rows: float, target: float) -> Effort:
    """Choose the quickest measured setting that reaches a recall, or one close to the best where none does."""
    curve, tried = curve_for(kind, shard_rows), []
    tenfolds, grown = tenfolds_beyond(kind, curve.rows, rows, shard_rows), growth(kind, curve.rows, shard_rows)
    longer = 1.0 if kind == "ivf_pq64" else dimension / DIMENSION
    for point in curve.points:
        fall = fall_per_tenfold(kind, point.effort)
        recall = max(0.0, point.recall - fall * tenfolds)
        tried.append(Effort(point, curve.rows, fall, tenfolds, recall, recall >= target, grown, point.seconds * grown * longer))
    best = max(one.recall for one in tried)
    enough = [one for one in tried if one.reaches] or [one for one in tried if one.recall >= best - _LITTLE]
    return min(enough, key=lambda one: one.seconds)


def curve_for(kind: Kind, shard_rows: float) -> Curve:
    """Give the largest measurement that is not larger than a shard, or the smallest."""
    curves = CURVES[kind]
    return max((curve for curve in curves if curve.rows <= shard_rows), key=lambda curve: curve.rows, default=curves[0])


def fall_per_tenfold(kind: Kind, setting: int | None = None) -> float:
    """Give by how much the best measured recall, or that of a setting if it fell by more, falls when there are ten times as many rows."""
    first, last = CURVES[kind][0], CURVES[kind][-1]
    falls = [best_recall(first) - best_recall(last)]
    same = [point.recall for curve in (first, last) for point in curve.points if point.effort == setting]
    if len(same) == 2:
        falls.append(same[0] - same[1])
    return max(0.0, *falls) / math.log10(last.rows / first.rows)


def best_recall(curve: Curve) -> float:
    """Give the best recall that was measured."""
    return max(point.recall for point in curve.points)


def tenfolds_beyond(kind: Kind, measured_rows: int, rows: float, shard_rows: float) -> float:
    """Give how many times there are ten times as many rows as were measured."""
    return max(0.0, math.log10((shard_rows if kind in _PER_SHARD else rows) / measured_rows))


def growth(kind: Kind, measured_rows: int, shard_rows: float) -> float:
    """Give how many times as long a query takes as it did at the measurement; at least as long, but where it reads every row."""
    if kind == "flat":
        return shard_rows / measured_rows
    more = max(1.0, shard_rows / measured_rows)
    return math.log(more * measured_rows) / math.log(measured_rows) if kind == "hnsw" else math.sqrt(more)


def gpu_seconds(kind: Kind, dimension: int, shard_rows: float, visited: int, gpu: GpuMachine) -> float:
    """Give the seconds of a GPU per query and shard: what is read at its bandwidth, or computed at its peak, whichever is longer.

    Args:
        visited: lists.

    Returns:
        An estimate; nothing was measured on a GPU. Queries of a batch share the vectors of an exact search and the lists' centres.
    """
    bytes_per_s, flops = gpu.bandwidth_gb_s * 1e9 * gpu.sustained, gpu.tflops * 1e12 * gpu.sustained
    if kind == "flat":
        return gpu.overhead_s + max(4 * dimension * shard_rows / gpu.batch / bytes_per_s, 2 * dimension * shard_rows / flops)
    lists = num_lists(shard_rows)
    code = dimension if kind == "ivf_sq8" else PQ_BYTES
    read = min(visited, lists) * shard_rows / lists * code + 4 * dimension * lists / gpu.batch
    return gpu.overhead_s + max(read / bytes_per_s, 2 * dimension * lists / flops)


def alone_seconds(dimension: int, rows: float) -> float:
    """Give the seconds of one core for an exact query that comes alone, with nothing in a batch to share the reading."""
    measured = max(ALONE_SECONDS)
    return ALONE_SECONDS[measured] * rows / measured * dimension / DIMENSION
