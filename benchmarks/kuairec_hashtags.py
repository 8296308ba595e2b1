"""How many kept hashtags are about their work, on real captions: two judged samples, lexicons alone and the whole cleaning.

Sample 1 (400 uses) calibrates: its own figures are of uses scored by weights fitted without them. Sample 2 (220 uses) was judged
before the lexicon of promotions was written and serves for nothing but this measurement. The share removed is told by kind of use too.
"""

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.real_captions import JudgedUse, captions_file, read_captions, read_judgements, write_tables  # noqa: E402
from benchmarks.record import write_result  # noqa: E402
from reelspace.signals.cleaning import CleanTags  # noqa: E402
from reelspace.signals.crowd import read_crowd  # noqa: E402
from reelspace.signals.intervals import share_of  # noqa: E402
from reelspace.signals.settings import SignalsSettings  # noqa: E402

BAR_PRECISION = 0.89


def kappa(uses: list[JudgedUse]) -> float:
    """Cohen's kappa of the two passes (Cohen 1960)."""
    first, second = (np.array([use.passes[place] for use in uses]) for place in (0, 1))
    agreed = float((first == second).mean())
    by_chance = float(first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean()))
    return (agreed - by_chance) / (1 - by_chance)


def measure(uses: list[JudgedUse], clean: CleanTags) -> dict[str, Any]:
    """Compare the decisions on judged uses with the judgements."""
    evidence = clean.evidence
    ids = evidence.works.ids_V[evidence.uses.work_U].tolist()
    row_of = {key: row for row, key in enumerate(zip(ids, evidence.uses.raws, strict=True))}
    rows = np.array([row_of[use.video_id, use.tag] for use in uses])
    relevant = np.array([use.relevant for use in uses])
    kept = clean.kept_U[rows]
    spared = ~evidence.is_begging_T[evidence.uses.tag_U[rows]]
    return {
        "num_uses": len(uses),
        "precision_raw": asdict(share_of(relevant)),
        "lexicons": {"precision": asdict(share_of(relevant[spared])), "relevant_kept": asdict(share_of(spared[relevant]))},
        "cleaned": {"precision": asdict(share_of(relevant[kept])), "relevant_kept": asdict(share_of(kept[relevant]))},
        "removed": {
            kind: asdict(share_of(np.array([not keep for use, keep in zip(uses, kept, strict=True) if use.kind == kind])))
            for kind in sorted({use.kind for use in uses} - {""})
        },
    }


def main() -> int:
    """Measure and write benchmarks/results/kuairec_hashtags.json; 1 if a bar is missed."""
    if not captions_file().is_file():
        print(f"skipped: no {captions_file()}; set REELSPACE_TEST_DATA to the folder of real data", file=sys.stderr)
        return 0
    videos = read_captions(captions_file())
    judged = read_judgements(videos)
    samples = {number: [use for use in judged if use.sample == number] for number in (1, 2)}
    with tempfile.TemporaryDirectory() as scratch:
        clean = read_crowd(write_tables(Path(scratch), videos, samples[1]), SignalsSettings()).clean
    figures = {f"sample_{number}": measure(uses, clean) for number, uses in samples.items()}
    held_out = clean.calibration
    begging = figures["sample_1"]["removed"]["begging"]["value"]
    values = {
        "unit": "share of uses of hashtags",
        "num_works": len(videos),
        "num_uses": len(clean.kept_U),
        "kappa_of_two_passes": round(kappa(samples[1]), 4),
        "sample_1_scored_by_weights_fitted_without": {"precision": asdict(held_out.after), "relevant_kept": asdict(held_out.relevant_kept)},
        **figures,
        "bars": {"precision": BAR_PRECISION, "begging_removed": 1.0},
    }
    write_result("kuairec_hashtags", values, seed=0, packages=("polars", "numpy", "jieba", "opencc-python-reimplemented"))
    reached = min(held_out.after.value or 0.0, figures["sample_2"]["cleaned"]["precision"]["value"]) >= BAR_PRECISION
    return 0 if reached and begging == 1.0 else 1


if __name__ == "__main__":
    sys.exit(main())
