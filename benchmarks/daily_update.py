"""What one more day is worth: two topics that nobody knew begin, and the model and the collection that serve take them in.

Each seed is a world of its own: a teacher and a student of the days before, an index that serves, then the pipeline `daily_update` with the
day's works while the servers run. Old topics are asked by works that no training saw, before and after; new topics by works of the day that
were held out.

`python benchmarks/daily_update.py` prints one JSON object and writes benchmarks/results/daily_update.json; minutes for each seed.
"""

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import write_result  # noqa: E402
from reelspace.demo.daily import DayReport, run_daily  # noqa: E402

SEEDS = (0, 1, 2)
LEAST_CHANGE_OF_OLD, LEAST_NEW = -0.02, 0.6


def main() -> int:
    """Run the days and hold them against the bars; 1 when one is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--keep", type=Path, help="directory that keeps the worlds and stores")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        reports = [run_daily((asked.keep or Path(scratch)) / f"seed-{seed}", seed=seed) for seed in asked.seeds]
    found = bars(reports)
    values = {"unit": "precision at 10", "days": [asdict(report) for report in reports], "bars": found}
    write_result("daily_update", values, seed=asked.seeds, packages=("torch", "deepspeed", "faiss-cpu"))
    return int(not all(bar["passed"] for bar in found.values()))


def bars(reports: list[DayReport]) -> dict[str, dict[str, object]]:
    """Hold the mean over seeds, and of what must never happen the worst, against what a day may cost and must bring."""
    change = float(np.mean([_defined(report.old_topics_p10_change) for report in reports]))
    new = float(np.mean([_defined(report.new_topics_p10) for report in reports]))
    missing = sum(report.new_works - report.new_works_found for report in reports)
    return {
        "old_topics_p10_change": {"value": round(change, 4), "bar": LEAST_CHANGE_OF_OLD, "passed": change >= LEAST_CHANGE_OF_OLD},
        "new_topics_p10": {"value": round(new, 4), "bar": LEAST_NEW, "passed": new >= LEAST_NEW},
        "new_works_not_found": {"value": missing, "bar": 0, "passed": missing == 0},
    }


def _defined(value: float | None) -> float:
    return float("nan") if value is None else value


if __name__ == "__main__":
    sys.exit(main())
