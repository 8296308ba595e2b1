"""How many comments that are kept, and chosen to speak for a work, are about it: on three generated platforms of 3,000 works.

A pair of work and comment is right when truth calls the comment useful and it has a word of the work's topic: useful-looking comments
on another topic count as wrong. The truth is read here, after the step has run. `kept` is the pool that contexts and choice use, `chosen`
is what the step wrote into texts.parquet, `phrases` are key phrases that are words of the work's topic. The shares are means over the
seeds; the intervals are from the lowest to the highest end of the 95 % bootstrap intervals of all seeds.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
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
from reelspace.demo.topics import Topic, topics  # noqa: E402
from reelspace.evaluate.ranking import bootstrap_interval  # noqa: E402
from reelspace.signals import tables as signal_tables  # noqa: E402
from reelspace.signals.comment_aspects import shipped_aspects, weak_labels  # noqa: E402
from reelspace.signals.comment_filter import MinedComments, mine_comments  # noqa: E402
from reelspace.signals.lexicons import load_lexicons  # noqa: E402
from reelspace.signals.normal_forms import NormalForms, public_text  # noqa: E402
from reelspace.signals.segmentation import Segmenter  # noqa: E402
from reelspace.signals.settings import CommentSettings  # noqa: E402

SEEDS = (0, 1, 2)
SETTINGS = {"searches": {"min_users": 2}}
BAR_PRECISION = 0.90
BATCH_ROWS = 20_000
FIGURES = ("precision_raw", "precision_kept", "precision_chosen", "precision_phrases", "useful_chosen", "right_kept")

Pair = tuple[int, str]


def measure(place: Path, preset: str, seed: int) -> dict[str, Any]:
    """Generate one platform without media, run the step and compare its comments with truth."""
    platform = label_platform(place, preset, seed, SETTINGS)
    world, directory = platform.world, platform.tables.fetch(place / "tables")
    start_s = time.monotonic()
    video_ids, mined = _mine(directory)
    mining_s = time.monotonic() - start_s
    written = platform.labels.fetch(place / "labels")
    about, useful = _truth(world)
    kept = [(int(video_ids[work]), public_text(text)) for work, text in zip(mined.good.work_C.tolist(), mined.texts, strict=True)]
    chosen = _chosen(written)
    right_chosen = np.array([about[pair] for pair in chosen], dtype=np.float64)
    return {
        "seed": seed,
        "precision_raw": _share(list(about), about),
        "precision_kept": _share(kept, about),
        "precision_chosen": _share(chosen, about),
        "precision_chosen_interval": bootstrap_interval(right_chosen, rng(seed, "comment funnel")),
        "useful_chosen": _share(chosen, useful),
        "right_kept": sum(about[pair] for pair in kept) / sum(about.values()),
        "precision_phrases": _phrase_precision(world, video_ids, mined),
        "num_kept": len(kept),
        "num_chosen": len(chosen),
        "languages": mined.num_by_language,
        "funnel": json.loads((written / "report.json").read_text())["funnels"]["comments"],
        "mining_seconds": round(mining_s, 1),
    }


def _mine(directory: Path) -> tuple[Sequence[int], MinedComments]:
    works = signal_tables.read_works(directory, None)
    mined = mine_comments(
        lambda: signal_tables.comment_batches(directory, works, None, BATCH_ROWS), works, NormalForms(), load_lexicons(), CommentSettings()
    )
    return works.ids_V.tolist(), mined


def _chosen(labels: Path) -> list[Pair]:
    rows = pq.read_table(labels / "texts.parquet", columns=["video_id", "comments"]).to_pylist()
    return [(row["video_id"], text) for row in rows for text in row["comments"]]


def _truth(world: Path) -> tuple[dict[Pair, bool], dict[Pair, bool]]:
    """Whether each pair of work and comment is right, and whether truth calls the comment useful."""
    kind_of = _by_key(pq.read_table(world / "truth" / "comments.parquet", columns=["comment_id", "kind"]).to_pylist(), "comment_id")
    topic_of = _topic_of(world)
    about: dict[Pair, bool] = {}
    useful: dict[Pair, bool] = {}
    for row in ds.dataset(world / "tables" / "comments").to_table(columns=["comment_id", "video_id", "text"]).to_pylist():
        pair = (row["video_id"], public_text(row["text"].strip()))
        is_useful = kind_of[row["comment_id"]]["kind"] == "useful"
        useful[pair] = useful.get(pair, False) or is_useful
        about[pair] = about.get(pair, False) or (is_useful and any(word in pair[1] for word in _words(topic_of[pair[0]])))
    return about, useful


def _phrase_precision(world: Path, video_ids: Sequence[int], mined: MinedComments) -> float:
    topic_of = _topic_of(world)
    labels = weak_labels(mined.good, Segmenter().words, load_lexicons().query_templates, shipped_aspects(), CommentSettings())
    rows = zip(labels.work_E.tolist(), labels.texts, labels.kinds, strict=True)
    right = [any(text in word for word in _words(topic_of[video_ids[work]])) for work, text, kind in rows if kind == "phrase"]
    return round(float(np.mean(right)), 4)


def _topic_of(world: Path) -> dict[int, Topic]:
    catalogue = {topic.topic: topic for topic in topics(24)}
    rows = pq.read_table(world / "truth" / "works.parquet", columns=["video_id", "topic"]).to_pylist()
    return {row["video_id"]: catalogue[row["topic"]] for row in rows}


def _words(topic: Topic) -> list[str]:
    return [word for words in topic.words.values() for word in (words.main, *words.in_comments, *words.subtopics)]


def _by_key(rows: Sequence[Mapping[str, Any]], key: str) -> dict[int, Mapping[str, Any]]:
    return {row[key]: row for row in rows}


def _share(pairs: Sequence[Pair], is_right: Mapping[Pair, bool]) -> float:
    return round(float(np.mean([is_right[pair] for pair in pairs])), 4)


def main() -> int:
    """Measure every seed and write benchmarks/results/comment_funnel.json; 1 if the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--preset", default="apps")
    arguments = parser.parse_args()
    runs = []
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as scratch:
            runs.append(measure(Path(scratch), arguments.preset, seed))
    reached = all(run["precision_chosen"] >= BAR_PRECISION and run["precision_kept"] >= BAR_PRECISION for run in runs)
    values = {
        "unit": "share of pairs of work and comment",
        "preset": arguments.preset,
        **{name: round(float(np.mean([run[name] for run in runs])), 4) for name in FIGURES},
        "precision_chosen_interval": [
            min(run["precision_chosen_interval"][0] for run in runs),
            max(run["precision_chosen_interval"][1] for run in runs),
        ],
        "bars": {"precision_kept": BAR_PRECISION, "precision_chosen": BAR_PRECISION, "reached_on_every_seed": reached},
        "settings": SETTINGS,
        "runs": runs,
    }
    name = "comment_funnel" if arguments.preset == "apps" else f"comment_funnel_{arguments.preset}"
    write_result(name, values, seed=arguments.seeds, packages=("polars", "numpy", "xxhash", "jieba", "opencc-python-reimplemented"))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
