"""The real captions of KuaiRec as input tables, and the judgements on their hashtags; not part of the project, so a folder names them."""

import csv
import gzip
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reelspace.core.captions import parse_caption
from reelspace.core.schemas import TABLES
from reelspace.steps.table_columns import arrow_schema

ROOT = Path(__file__).resolve().parents[1]
JUDGEMENTS = ROOT / "benchmarks" / "judgements" / "kuairec.csv"
# The file has no dates: one day for all, so that nothing follows from time.
_DAY = datetime(2020, 7, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class JudgedUse:
    """One use of a hashtag that was judged; `kind` tells what an irrelevant one of sample 1 is."""

    sample: int
    video_id: int
    tag: str
    passes: tuple[bool, ...]
    relevant: bool
    kind: str


def captions_file() -> Path:
    """Give the file of captions; REELSPACE_TEST_DATA names another folder than the one beside the checkout."""
    folder = Path(os.environ.get("REELSPACE_TEST_DATA") or ROOT.parent / "shared" / "data")
    return folder / "text" / "kuairec_captions.jsonl.gz"


def read_captions(path: Path) -> list[dict[str, Any]]:
    """Read the rows of the table of videos, by id."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    videos = [
        {
            "video_id": row["video_id"],
            "uri": "unseen",
            "caption": row["caption"] or "",
            "cover_text": row["cover_text"],
            "created_at": _DAY,
            "categories": [name for name in row["category"] if name] if row["category"] else None,
        }
        for row in rows
    ]
    return sorted(videos, key=lambda row: int(row["video_id"]))


def read_judgements(videos: Iterable[dict[str, Any]]) -> list[JudgedUse]:
    """Read the judgements and find the tag each one means; one that is not the tag judged is an error."""
    tags = {row["video_id"]: parse_caption(row["caption"]).tags for row in videos}
    uses = []
    with JUDGEMENTS.open(newline="") as file:
        for row in csv.DictReader(file):
            tag = tags[int(row["video_id"])][int(row["tag_index"])]
            if hashlib.sha256(tag.encode()).hexdigest()[:12] != row["tag_sha256"]:
                raise ValueError(f"video {row['video_id']}, tag {row['tag_index']}: the captions hold another tag than the one judged")
            passes = tuple(row[name] == "1" for name in ("pass_1", "pass_2") if row[name])
            uses.append(JudgedUse(int(row["sample"]), int(row["video_id"]), tag, passes, row["relevant"] == "1", row["kind"]))
    return uses


def write_tables(out: Path, videos: list[dict[str, Any]], judged: Iterable[JudgedUse] = ()) -> Path:
    """Write the tables as the signals read them; `judged` becomes the table of judgements."""
    out.mkdir(parents=True, exist_ok=True)
    judgements = [{"video_id": use.video_id, "tag": use.tag, "relevant": use.relevant, "rater": "reviewed"} for use in judged]
    rows = {"videos": videos, "tag_judgements": sorted(judgements, key=lambda row: (row["video_id"], row["tag"]))}
    for name, schema in TABLES.items():
        columns = arrow_schema(schema)
        table = pa.Table.from_pylist([{column: row.get(column) for column in columns.names} for row in rows.get(name, [])], schema=columns)
        pq.write_table(table, out / f"{name}.parquet")
    return out
