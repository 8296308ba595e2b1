"""How many kept hashtags are about their work: before and after cleaning, on five generated platforms of 3,000 works.

The threshold is calibrated on the table `tag_judgements` alone; the truth is read here, after the step has run. The shares are means over
the seeds; the interval is from the lowest to the highest end of the 95 % bootstrap intervals of all seeds.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.generated_platform import label_platform  # noqa: E402
from benchmarks.record import write_result  # noqa: E402
from reelspace.evaluate.hashtags import hashtag_figures, read_kept  # noqa: E402
from reelspace.evaluate.truth import read_tag_uses  # noqa: E402

SEEDS = (0, 1, 2, 3, 4)
SETTINGS = {"searches": {"min_users": 2}}
BAR_PRECISION = 0.89
BAR_KEPT = 0.70


def measure(place: Path, preset: str, seed: int) -> dict[str, Any]:
    """Generate one platform without media, clean its hashtags and compare with its truth."""
    platform = label_platform(place, preset, seed, SETTINGS)
    kept = read_kept(platform.labels.fetch(place / "labels") / "tag_uses.parquet")
    figures = hashtag_figures(read_tag_uses(platform.world), kept, np.random.default_rng(seed))
    report = json.loads(platform.labels.read("report.json"))
    return {
        "seed": seed,
        **figures,
        "judged_precision_clean": report["hashtags"]["precision_after"],
        "threshold": report["hashtags"]["threshold"],
        "rules": {rule["name"]: {name: rule[name] for name in ("flagged", "removed", "precision")} for rule in report["rules"]},
        "wall_seconds": round(platform.wall_s, 1),
        "cpu_seconds": round(platform.cpu_s, 1),
    }


def main() -> int:
    """Measure every seed and write benchmarks/results/hashtag_cleaning.json; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--preset", default="apps")
    arguments = parser.parse_args()
    runs = []
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as scratch:
            runs.append(measure(Path(scratch), arguments.preset, seed))
    means = {name: round(float(np.mean([run[name] for run in runs])), 4) for name in ("precision_raw", "precision_clean", "relevant_kept")}
    reached = all(run["precision_clean"] >= BAR_PRECISION and run["relevant_kept"] >= BAR_KEPT for run in runs)
    values = {
        "unit": "share of uses of hashtags",
        "preset": arguments.preset,
        **means,
        "precision_clean_interval": [
            min(run["precision_clean_interval"][0] for run in runs),
            max(run["precision_clean_interval"][1] for run in runs),
        ],
        "bars": {"precision_clean": BAR_PRECISION, "relevant_kept": BAR_KEPT, "reached_on_every_seed": reached},
        "settings": SETTINGS,
        "runs": runs,
    }
    name = "hashtag_cleaning" if arguments.preset == "apps" else f"hashtag_cleaning_{arguments.preset}"
    write_result(name, values, seed=arguments.seeds, packages=("polars", "numpy", "jieba", "opencc-python-reimplemented"))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
