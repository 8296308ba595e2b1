"""How well the score tells injected noise: a fifth of the clean hashtags of real captions is replaced by tags of other works.

Clean means kept by the cleaning; the replacements are drawn in proportion to the use of tags. The cleaning then runs on the noisy captions
with its shipped weights and without a judged sample. AUROC is the chance that a replaced use scores below an original one. The bar is for
the labels of hashtag prediction, tags of at least five works; a tag of one work says little of what it means, and is told beside.
"""

import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.real_captions import captions_file, read_captions, read_judgements, write_tables  # noqa: E402
from benchmarks.record import write_result  # noqa: E402
from reelspace.core.captions import parse_caption  # noqa: E402
from reelspace.signals.cleaning import CleanTags  # noqa: E402
from reelspace.signals.crowd import read_crowd  # noqa: E402
from reelspace.signals.settings import SignalsSettings  # noqa: E402

SEEDS = (0, 1, 2)
NOISE_SHARE = 0.2
BAR = 0.90
MIN_WORKS = (1, 2, 5)
LABEL_MIN_WORKS = 5


def auroc(scores_N: NDArray[np.float64], is_noise_N: NDArray[np.bool_]) -> float:
    """Area under the curve by ranks, ties shared (Mann-Whitney)."""
    _, inverse, counts = np.unique(-scores_N, return_inverse=True, return_counts=True)
    ranks_N = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    num_noise, num_clean = int(is_noise_N.sum()), int((~is_noise_N).sum())
    return float((ranks_N[is_noise_N].sum() - num_noise * (num_noise + 1) / 2) / (num_noise * num_clean))


def inject(clean: CleanTags, videos: list[dict[str, Any]], seed: int) -> tuple[list[dict[str, Any]], dict[tuple[int, str], bool]]:
    """Give captions that hold clean tags only, a share of them replaced, and which uses are noise."""
    draw = np.random.default_rng(seed)
    uses = clean.evidence.uses
    ids = clean.evidence.works.ids_V
    pairs = [(int(ids[uses.work_U[row]]), uses.tags[int(uses.tag_U[row])]) for row in np.flatnonzero(clean.kept_U).tolist()]
    tags: dict[int, dict[str, bool]] = defaultdict(dict)
    own: dict[int, set[str]] = defaultdict(set)
    for video_id, tag in pairs:
        own[video_id].add(tag)
    for video_id, tag in pairs:
        is_noise = draw.random() < NOISE_SHARE
        while is_noise and (tag in own[video_id] or tag in tags[video_id]):
            tag = pairs[int(draw.integers(len(pairs)))][1]
        tags[video_id].setdefault(tag, is_noise)
    noisy = [
        row | {"caption": parse_caption(row["caption"]).text + "".join(f" #{tag}" for tag in tags.get(row["video_id"], ()))}
        for row in videos
    ]
    return noisy, {(video_id, tag): is_noise for video_id, found in tags.items() for tag, is_noise in found.items()}


def measure(clean: CleanTags, videos: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Inject noise, clean again without judgements, and rank."""
    noisy, truth = inject(clean, videos, seed)
    with tempfile.TemporaryDirectory() as scratch:
        again = read_crowd(write_tables(Path(scratch), noisy), SignalsSettings()).clean
    uses = again.evidence.uses
    keys = [(int(again.evidence.works.ids_V[work]), raw) for work, raw in zip(uses.work_U.tolist(), uses.raws, strict=True)]
    rows = [row for row, key in enumerate(keys) if key in truth]
    is_noise = np.array([truth[keys[row]] for row in rows])
    works_of = Counter(tag for _, tag in truth)
    enough = {least: np.array([works_of[keys[row][1]] >= least for row in rows]) for least in MIN_WORKS}
    scores = again.score_U[rows]
    return {
        "seed": seed,
        "num_uses": len(rows),
        "noise_share": round(float(is_noise.mean()), 4),
        "auroc_by_least_works_of_the_tag": {str(least): round(auroc(scores[mask], is_noise[mask]), 4) for least, mask in enough.items()},
    }


def main() -> int:
    """Measure every seed and write benchmarks/results/label_noise.json; 1 if the bar is missed."""
    if not captions_file().is_file():
        print(f"skipped: no {captions_file()}; set REELSPACE_TEST_DATA to the folder of real data", file=sys.stderr)
        return 0
    videos = read_captions(captions_file())
    judged = [use for use in read_judgements(videos) if use.sample == 1]
    with tempfile.TemporaryDirectory() as scratch:
        clean = read_crowd(write_tables(Path(scratch), videos, judged), SignalsSettings()).clean
    runs = [measure(clean, videos, seed) for seed in SEEDS]
    by_least = {least: [run["auroc_by_least_works_of_the_tag"][str(least)] for run in runs] for least in MIN_WORKS}
    means = {str(least): round(float(np.mean(found)), 4) for least, found in by_least.items()}
    lowest = min(by_least[LABEL_MIN_WORKS])
    values = {
        "unit": "AUROC",
        "auroc": means[str(LABEL_MIN_WORKS)],
        "lowest": lowest,
        "bar": BAR,
        "by_least_works_of_the_tag": means,
        "runs": runs,
    }
    write_result("label_noise", values, seed=list(SEEDS), packages=("polars", "numpy", "jieba", "opencc-python-reimplemented"))
    return 0 if lowest >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
