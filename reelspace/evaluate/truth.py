"""The known truth of a generated world. Only the evaluate step reads it."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reelspace.core.errors import ArtifactMissing


@dataclass(frozen=True, slots=True)
class WorkTruth:
    """Topics of the works, in the order of a given id list; N works."""

    topic_N: NDArray[np.int64]
    is_twin_N: NDArray[np.bool_]
    is_newborn_N: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class EvaluationQuery:
    """A text query with its topic; `seen` when training works carry this phrasing."""

    text: str
    language: str
    topic: int
    seen: bool


@dataclass(frozen=True, slots=True)
class TagTruth:
    """Whether one raw tag of one work is relevant."""

    video_id: int
    tag: str
    relevant: bool


def _columns(path: Path, names: list[str]) -> dict[str, list[object]]:
    if not path.is_file():
        raise ArtifactMissing(f"expected the truth of a generated world at {path}; give truth_uri the folder that `demo generate` wrote")
    table = pq.read_table(path, columns=names)
    return {name: table.column(name).to_pylist() for name in names}


def read_works(root: Path, video_ids_N: NDArray[np.int64]) -> WorkTruth:
    """Read topics and twins of the given works from `<root>/truth/works.parquet`."""
    columns = _columns(root / "truth" / "works.parquet", ["video_id", "topic", "twin_of", "newborn"])
    row_of = {video_id: row for row, video_id in enumerate(columns["video_id"])}
    rows = [row_of[int(video_id)] for video_id in video_ids_N]
    return WorkTruth(
        topic_N=np.array([columns["topic"][row] for row in rows], dtype=np.int64),
        is_twin_N=np.array([columns["twin_of"][row] is not None for row in rows]),
        is_newborn_N=np.array([bool(columns["newborn"][row]) for row in rows]),
    )


def read_queries(root: Path) -> list[EvaluationQuery]:
    """Read the evaluation queries of `<root>/queries.parquet`."""
    table = pq.read_table(root / "queries.parquet", columns=["text", "language", "topic", "seen"]).to_pylist()
    return [EvaluationQuery(row["text"], row["language"], int(row["topic"]), bool(row["seen"])) for row in table]


def read_tag_uses(root: Path) -> list[TagTruth]:
    """Read the relevance of every tag use from `<root>/truth/tag_uses.parquet`."""
    columns = _columns(root / "truth" / "tag_uses.parquet", ["video_id", "tag", "relevant"])
    rows = zip(columns["video_id"], columns["tag"], columns["relevant"], strict=True)
    return [TagTruth(int(str(video_id)), str(tag), bool(relevant)) for video_id, tag, relevant in rows]


def training_works(topic_N: NDArray[np.int64], created_at_N: list[datetime], cutoff: datetime) -> dict[int, int]:
    """Count the works of each topic that were uploaded before the cut-off."""
    counts: dict[int, int] = {}
    for topic, created_at in zip(topic_N.tolist(), created_at_N, strict=True):
        counts[topic] = counts.get(topic, 0) + (created_at < cutoff)
    return counts
