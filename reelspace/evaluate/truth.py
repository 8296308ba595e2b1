"""The known truth of a generated world. Only the evaluate step reads it."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reelspace.core.errors import ArtifactMissing, UserError


@dataclass(frozen=True, slots=True)
class WorkTruth:
    """Topics of the works, in the order of a given id list; N works."""

    topic_N: NDArray[np.int64]
    is_twin_N: NDArray[np.bool_]
    is_newborn_N: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WorkFacts:
    """What slices and grades of relevance need to know of N works, in the order of a given id list."""

    area_N: NDArray[np.int64]
    subtopic_N: NDArray[np.int64]
    has_tags_N: NDArray[np.bool_]
    has_sound_N: NDArray[np.bool_]


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
    columns = _works_of(root, video_ids_N, ["topic", "twin_of", "newborn"])
    return WorkTruth(
        topic_N=np.array(columns["topic"], dtype=np.int64),
        is_twin_N=np.array([twin_of is not None for twin_of in columns["twin_of"]], dtype=bool),
        is_newborn_N=np.array(columns["newborn"], dtype=bool),
    )


def read_facts(root: Path, video_ids_N: NDArray[np.int64]) -> WorkFacts:
    """Read area, sub-topic, tags and sound of the given works from `<root>/truth`; tags count whether relevant or not."""
    columns = _works_of(root, video_ids_N, ["area", "subtopic", "kind", "sound"])
    tagged = np.unique(np.array([use.video_id for use in read_tag_uses(root)], dtype=np.int64))
    sounds = zip(columns["kind"], columns["sound"], strict=True)
    return WorkFacts(
        area_N=np.array(columns["area"], dtype=np.int64),
        subtopic_N=np.array(columns["subtopic"], dtype=np.int64),
        has_tags_N=np.isin(video_ids_N, tagged),
        has_sound_N=np.array([kind != "image" and sound != "none" for kind, sound in sounds], dtype=bool),
    )


def read_upload_times(root: Path, video_ids_N: NDArray[np.int64]) -> list[datetime]:
    """Read when the given works were uploaded (UTC) from the tables beside the truth."""
    path = root / "tables" / "videos"
    if not path.is_dir():
        raise ArtifactMissing(f"expected the tables of a generated world at {path}; give the folder that `demo generate` wrote")
    # The files know their day; as a partition it would be one more column.
    table = pq.read_table(path, columns=["video_id", "created_at"], partitioning=None)
    rows = _rows_of(table.column("video_id").to_pylist(), video_ids_N, path)
    times = table.column("created_at").to_pylist()
    return [times[row] for row in rows]


def read_topic_names(root: Path) -> dict[int, str]:
    """Read the names of the topics from `<root>/truth/topics.parquet`."""
    columns = _columns(root / "truth" / "topics.parquet", ["topic", "name"])
    return {int(str(topic)): str(name) for topic, name in zip(columns["topic"], columns["name"], strict=True)}


def _works_of(root: Path, video_ids_N: NDArray[np.int64], names: list[str]) -> dict[str, list[object]]:
    path = root / "truth" / "works.parquet"
    columns = _columns(path, ["video_id", *names])
    rows = _rows_of(columns["video_id"], video_ids_N, path)
    return {name: [columns[name][row] for row in rows] for name in names}


def _rows_of(known: list[object], video_ids_N: NDArray[np.int64], path: Path) -> list[int]:
    row_of = {video_id: row for row, video_id in enumerate(known)}
    unknown = [video_id for video_id in video_ids_N.tolist() if video_id not in row_of]
    if unknown:
        raise UserError(
            f"expected vectors of works that {path} knows, {len(unknown)} are not there, e.g. {unknown[0]}; is it the same world?"
        )
    return [row_of[video_id] for video_id in video_ids_N.tolist()]


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
