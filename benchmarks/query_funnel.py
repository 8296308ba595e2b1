"""How many pairs of query and work are right on generated platforms of 3,000 works, and whether every satisfied, k-anonymous pair is kept.

Right is what the truth says of the pair. The expected pairs are counted once more here, by plain loops over the raw tables.
"""

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.generated_platform import label_platform  # noqa: E402
from benchmarks.record import write_result  # noqa: E402
from reelspace.core.rng import rng  # noqa: E402
from reelspace.evaluate.ranking import bootstrap_interval  # noqa: E402
from reelspace.signals.normal_forms import NormalForms  # noqa: E402
from reelspace.signals.settings import SearchSettings  # noqa: E402

SEEDS = (0, 1, 2)
MIN_USERS = 2
BAR_PRECISION = 0.90

Pair = tuple[int, str]


def expected_pairs(world: Path) -> set[Pair]:
    """Count the satisfied pairs of enough people, row by row."""
    forms, settings = NormalForms(), SearchSettings()
    searches = {row["search_id"]: row for row in _rows(world, "searches")}
    users: dict[Pair, set[int]] = defaultdict(set)
    for click in _rows(world, "clicks"):
        returned_ms = click["returned_within_ms"]
        stayed_away = returned_ms is None or returned_ms > settings.quick_return_ms
        if click["dwell_ms"] >= settings.satisfied_dwell_ms and stayed_away and click["search_id"] in searches:
            search = searches[click["search_id"]]
            users[click["video_id"], forms.query(search["query"])].add(search["user_id"])
    return {pair for pair, people in users.items() if len(people) >= MIN_USERS and pair[1]}


def measure(place: Path, seed: int) -> dict[str, Any]:
    """Generate one platform without media, run the step and compare its pairs."""
    platform = label_platform(place, "apps", seed, {"searches": {"min_users": MIN_USERS}})
    world, written = platform.world, platform.labels.fetch(place / "labels")
    pairs = pq.read_table(written / "pairs.parquet", columns=["video_id", "query", "confidence"]).to_pylist()
    found = {(row["video_id"], row["query"]) for row in pairs}
    forms = NormalForms()
    truth = pq.read_table(world / "truth" / "query_pairs.parquet").to_pylist()
    wrong = {(row["video_id"], forms.query(row["query"])): row["wrong"] for row in truth}
    right = np.array([not wrong.get((row["video_id"], row["query"]), True) for row in pairs], dtype=np.float64)
    sure = np.argsort([-row["confidence"] for row in pairs], kind="stable")[: len(pairs) // 2]
    expected = expected_pairs(world)
    return {
        "seed": seed,
        "pairs": len(pairs),
        "precision": round(float(right.mean()), 4),
        "precision_interval": bootstrap_interval(right, rng(seed, "query funnel")),
        "precision_of_the_surer_half": round(float(right[sure].mean()), 4),
        "expected_pairs": len(expected),
        "expected_pairs_missing": len(expected - found),
        "pairs_not_expected": len(found - expected),
        "funnel": json.loads((written / "report.json").read_text())["funnels"]["searches"],
    }


def _rows(world: Path, table: str) -> list[dict[str, Any]]:
    return list(ds.dataset(world / "tables" / table).to_table().to_pylist())


def main() -> int:
    """Measure every seed and write benchmarks/results/query_funnel.json; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    runs = []
    for seed in parser.parse_args().seeds:
        with tempfile.TemporaryDirectory() as scratch:
            runs.append(measure(Path(scratch), seed))
    reached = all(run["precision"] >= BAR_PRECISION and run["expected_pairs_missing"] == 0 for run in runs)
    values = {
        "unit": "share of pairs of query and work",
        "precision": round(float(np.mean([run["precision"] for run in runs])), 4),
        "bars": {"precision": BAR_PRECISION, "expected_pairs_missing": 0, "reached_on_every_seed": reached},
        "runs": runs,
    }
    write_result("query_funnel", values, seed=[run["seed"] for run in runs], packages=("polars", "narwhals", "numpy"))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
