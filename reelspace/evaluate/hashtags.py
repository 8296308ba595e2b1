"""Relevance of hashtags before and after cleaning, against the truth of a generated world."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from reelspace.evaluate.ranking import bootstrap_interval
from reelspace.evaluate.truth import TagTruth


def read_kept(path: Path) -> dict[tuple[int, str], bool]:
    """Read (video_id, raw tag) -> kept from the tag_uses.parquet of a `labels` artifact."""
    rows = pq.read_table(path, columns=["video_id", "tag", "kept"]).to_pylist()
    return {(row["video_id"], row["tag"]): row["kept"] for row in rows}


def hashtag_figures(truth: Iterable[TagTruth], kept: dict[tuple[int, str], bool], generator: np.random.Generator) -> dict[str, object]:
    """Compare the cleaning with the truth over the uses that were cleaned.

    Returns:
        precision_raw, precision_clean with its 95 % bootstrap interval, and the share of relevant uses that were kept.
    """
    judged = [(use.relevant, kept[(use.video_id, use.tag)]) for use in truth if (use.video_id, use.tag) in kept]
    relevant = np.array([row[0] for row in judged], dtype=bool)
    is_kept = np.array([row[1] for row in judged], dtype=bool)
    if not is_kept.any() or not relevant.any():
        return {
            "precision_raw": None,
            "precision_clean": None,
            "precision_clean_interval": None,
            "relevant_kept": None,
            "num_uses": len(judged),
        }
    return {
        "precision_raw": float(relevant.mean()),
        "precision_clean": float(relevant[is_kept].mean()),
        "precision_clean_interval": bootstrap_interval(relevant[is_kept].astype(np.float64), generator),
        "relevant_kept": float(is_kept[relevant].mean()),
        "num_uses": len(judged),
    }
