"""How fast clicks become pairs of query and work, and how much memory that takes, beside the same job written directly in polars.

The log is drawn with numpy: searches 0.3 and works 0.04 times as many as clicks; distinct queries and works per query grow as the square
root of clicks (Heaps' law), so that pairs grow as clicks do. Ours is `satisfied_pairs` of `signals/search_tables.py`,
with the log opened and its funnel; the baseline gives the same pairs and counts. Both read the same files, each run is a process of its
own, runs alternate, and the ratio is the median over pairs of runs. Times exclude the start of Python; the peak is the whole process's.
`--rows 1000000 5000000 20000000 40000000` also measures growth.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib import rcParams
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import RESULTS, write_result  # noqa: E402
from reelspace.core.rng import rng  # noqa: E402
from reelspace.signals.search_log import open_log  # noqa: E402
from reelspace.signals.search_tables import satisfied_pairs  # noqa: E402
from reelspace.signals.settings import SearchSettings  # noqa: E402

SEED = 0
START_US = 1_735_689_600_000_000
DAY_US = 86_400_000_000
NUM_DAYS = 90
NUM_WORDS = 400
QUERIES_AT_MILLION = 20_000
WORKS_PER_QUERY_AT_MILLION = 12
GROUP_ROWS = 1_000_000
SETTINGS = SearchSettings()
BAR_RATIO = 1.5
BAR_PEAK_GIB = {5_000_000: 3.0, 40_000_000: 12.0}
BAR_GROWTH = 1.3
Answer = tuple[pa.Table, list[int]]


@dataclass(frozen=True, slots=True)
class _Shown:
    """What searches are answered from; one work in 21 is unknown."""

    num_works: int
    works_per_query: float


def write_log(directory: Path, num_clicks: int) -> None:
    """Write searches.parquet, clicks.parquet and videos.parquet, a piece at a time, sorted as import_tables leaves them."""
    num_searches, num_works = num_clicks * 3 // 10, num_clicks // 25
    growth = (num_clicks / 1e6) ** 0.5
    num_queries, works_per_query = int(QUERIES_AT_MILLION * growth), WORKS_PER_QUERY_AT_MILLION * growth
    shown = _Shown(num_works, works_per_query)
    draw = rng(SEED, "log", num_clicks)
    query_of = (num_queries * draw.random(num_searches) ** 3).astype(np.int64)
    searched_us = START_US + draw.integers(0, NUM_DAYS * DAY_US, num_searches)
    search_of = np.sort(draw.integers(0, num_searches, num_clicks))
    pq.write_table(pa.table({"video_id": np.arange(num_works)}), directory / "videos.parquet")
    _write(directory / "searches.parquet", num_searches, lambda rows: _searches(draw, rows, query_of[rows], searched_us[rows]))
    _write(
        directory / "clicks.parquet",
        num_clicks,
        lambda rows: _clicks(draw, search_of[rows], query_of[search_of[rows]], searched_us[search_of[rows]], shown),
    )


def ours(directory: Path) -> Answer:
    """The project's own code."""
    ids_V = pq.read_table(directory / "videos.parquet")["video_id"].to_numpy()
    log = open_log(directory, ids_V, str.casefold, SETTINGS, None)
    pairs, stages = satisfied_pairs(log, np.ones(SETTINGS.max_position), SETTINGS)
    queries = log.queries.take(pairs["query_id"].combine_chunks())
    columns = {name: pairs[name].cast(pa.int64()) for name in ("video_id", "num_users", "num_clicks", "first_us", "last_us")}
    return pa.table({**columns, "query": queries}), [stage.count for stage in stages]


def baseline(directory: Path) -> Answer:
    """The same job as one would write it in polars."""
    searches = pl.scan_parquet(directory / "searches.parquet")
    distinct = searches.select("query").unique().collect(engine="streaming")["query"]
    forms = pl.LazyFrame({"written": distinct, "query": [text.casefold() for text in distinct]})
    forms = forms.filter(pl.col("query") != "")
    log = searches.select("search_id", "user_id", written="query").join(forms, on="written").drop("written")
    clicks = pl.scan_parquet(directory / "clicks.parquet")
    known = clicks.join(pl.scan_parquet(directory / "videos.parquet"), on="video_id", how="semi")
    stayed = pl.col("dwell_ms") >= SETTINGS.satisfied_dwell_ms
    stayed_away = pl.col("returned_within_ms").is_null() | (pl.col("returned_within_ms") > SETTINGS.quick_return_ms)
    pairs = (
        known.filter(stayed & stayed_away)
        .join(log, on="search_id")
        .group_by("video_id", "query")
        .agg(
            num_users=pl.col("user_id").n_unique().cast(pl.Int64),
            num_clicks=pl.len().cast(pl.Int64),
            first_us=pl.col("clicked_at").min().cast(pl.Int64),
            last_us=pl.col("clicked_at").max().cast(pl.Int64),
        )
        .collect(engine="streaming")
    )
    counts = pl.collect_all(
        [clicks.select(pl.len()), known.select(pl.len(), stayed.sum().alias("stayed"), (stayed & stayed_away).sum().alias("satisfied"))],
        engine="streaming",
    )
    kept = pairs.filter(pl.col("num_users") >= SETTINGS.min_users).sort("video_id", "num_users", "query", descending=[False, True, False])
    stages = [*counts[0].row(0), *counts[1].row(0), int(pairs["num_clicks"].sum()), pairs.height, kept.height]
    return kept.to_arrow(), [int(count) for count in stages]


WAYS = {"ours": ours, "baseline": baseline}


def run(way: str, directory: Path) -> dict[str, Any]:
    """Measure one way in a fresh process."""
    command = [sys.executable, __file__, "--child", way, "--directory", str(directory)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def measure(num_clicks: int, num_pairs_of_runs: int) -> dict[str, Any]:
    """Draw a log and run both ways in turn."""
    with tempfile.TemporaryDirectory() as scratch:
        write_log(Path(scratch), num_clicks)
        runs = [{way: run(way, Path(scratch)) for way in WAYS} for _ in range(num_pairs_of_runs)]
    if len({(each[way]["digest"]) for each in runs for way in WAYS}) != 1:
        raise SystemExit(f"{num_clicks} clicks: the two ways do not give the same pairs and counts")
    figures = {
        f"{way}_{name}": round(statistics.median(each[way][name] for each in runs), 3)
        for way in WAYS
        for name in ("wall_seconds", "cpu_seconds", "peak_gib")
    }
    ratio = statistics.median(each["ours"]["wall_seconds"] / each["baseline"]["wall_seconds"] for each in runs)
    return {
        "clicks": num_clicks,
        "pairs": runs[0]["ours"]["pairs"],
        "ratio": round(ratio, 3),
        "seconds_per_million": round(figures["ours_wall_seconds"] / num_clicks * 1e6, 3),
        "cpu_seconds_per_million": round(figures["ours_cpu_seconds"] / num_clicks * 1e6, 3),
        "runs": num_pairs_of_runs,
        **figures,
    }


def _child(way: str, directory: Path) -> None:
    start_s, start_cpu_s = time.monotonic(), time.process_time()
    pairs, stages = WAYS[way](directory)
    wall_s, cpu_s = time.monotonic() - start_s, time.process_time() - start_cpu_s
    values = {
        "wall_seconds": wall_s,
        "cpu_seconds": cpu_s,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "pairs": pairs.num_rows,
        "digest": _digest(pairs, stages),
    }
    print(json.dumps(values))


def _digest(pairs: pa.Table, stages: list[int]) -> str:
    """A digest of all values, whatever the engine calls its types."""
    frame = pl.DataFrame(pairs).select(sorted(pairs.column_names))
    return (
        f"{stages} {frame.height} {frame.hash_rows(seed=1).to_numpy().view(np.uint64).dot(np.arange(1, frame.height + 1, dtype=np.uint64))}"
    )


def _write(path: Path, num_rows: int, piece: Any) -> None:
    writer = None
    for start in range(0, num_rows, GROUP_ROWS):
        table = piece(slice(start, min(start + GROUP_ROWS, num_rows)))
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer:
        writer.close()


def _searches(draw: np.random.Generator, rows: slice, query_N: np.ndarray, searched_us_N: np.ndarray) -> pa.Table:
    num = len(query_N)
    written = [f"{'Word' if query % 3 else 'word'} {query % NUM_WORDS} of {query}" for query in query_N.tolist()]
    return pa.table(
        {
            "search_id": np.arange(rows.start, rows.start + num),
            "user_id": draw.integers(0, 1 + rows.stop, num),
            "query": pa.array(written, pa.large_string()),
            "searched_at": pa.array(searched_us_N).cast(pa.timestamp("us", tz="UTC")),
            "reference_video_id": pa.nulls(num, pa.int64()),
        }
    )


def _clicks(draw: np.random.Generator, search_N: np.ndarray, query_N: np.ndarray, searched_us_N: np.ndarray, shown: _Shown) -> pa.Table:
    num = len(search_N)
    work_N = (query_N * 7_919 + (shown.works_per_query * draw.random(num) ** 2).astype(np.int64) * 31) % (shown.num_works * 21 // 20)
    came_back_N = draw.random(num) < 0.3
    return pa.table(
        {
            "search_id": search_N,
            "video_id": work_N,
            "clicked_at": pa.array(searched_us_N + draw.integers(0, 60_000_000, num)).cast(pa.timestamp("us", tz="UTC")),
            "dwell_ms": draw.integers(100, 40_000, num).astype(np.int32),
            "returned_within_ms": pa.array(draw.integers(0, 20_000, num).astype(np.int32), mask=~came_back_N),
        }
    )


def _bars(results: list[Mapping[str, Any]]) -> dict[str, bool]:
    """Which bars are reached by what was measured."""
    bars = {"ratio": all(each["ratio"] <= BAR_RATIO for each in results)}
    for each in results:
        if each["clicks"] in BAR_PEAK_GIB:
            bars[f"peak_gib_at_{each['clicks']}"] = each["ours_peak_gib"] <= BAR_PEAK_GIB[each["clicks"]]
    if len(results) > 1:
        bars["growth"] = results[-1]["seconds_per_million"] <= BAR_GROWTH * results[0]["seconds_per_million"]
    return bars


def plot(results: list[Mapping[str, Any]]) -> None:
    """Draw time per million clicks over clicks into benchmarks/results/signals.svg."""
    rcParams["svg.hashsalt"] = "signals"
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    clicks = [each["clicks"] for each in results]
    for way in WAYS:
        axes.plot(clicks, [each[f"{way}_wall_seconds"] / each["clicks"] * 1e6 for each in results], marker="o", label=way)
    axes.set(xscale="log", xlabel="clicks", ylabel="seconds per million clicks", ylim=(0, None))
    axes.legend()
    figure.savefig(RESULTS / "signals.svg", metadata={"Date": None})


def main() -> int:
    """Measure every size and write benchmarks/results/signals.json, drawn if there are several; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000_000], help="clicks")
    parser.add_argument("--runs", type=int, default=5, help="pairs of runs per size")
    parser.add_argument("--child", choices=list(WAYS), help="run one way and print its figures")
    parser.add_argument("--directory", type=Path)
    arguments = parser.parse_args()
    if arguments.child:
        _child(arguments.child, arguments.directory)
        return 0
    results = [measure(num_clicks, arguments.runs) for num_clicks in sorted(arguments.rows)]
    bars = _bars(results)
    values = {
        "unit": "seconds and GiB per job",
        "sizes": results,
        "bars": {"ratio": BAR_RATIO, "peak_gib": {str(size): bar for size, bar in BAR_PEAK_GIB.items()}, "growth": BAR_GROWTH},
        "reached": bars,
    }
    write_result("signals", values, seed=SEED, packages=("polars", "narwhals", "numpy", "pyarrow"))
    if len(results) > 1:
        plot(results)
    return 0 if all(bars.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
