"""A small world of tables to import: its rows, the folder they lie in, and the artifacts that come of it."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelspace.core.artifacts import Artifact, open_artifact, read_manifest_file
from reelspace.core.errors import TableError
from reelspace.core.store import open_store
from reelspace.steps import import_tables

Row = dict[str, Any]
NOON = datetime(2025, 1, 31, 12, 0, 0, 123456, UTC)
NUM_GOOD = 40

ROWS: Mapping[str, list[Row]] = {
    "videos": [
        {
            "video_id": 7,
            "uri": "media/7.mp4",
            "caption": "a #cat",
            "created_at": NOON,
            "creator_id": 1,
            "kind": "video",
            "categories": ["pets", "cats"],
        },
        {
            "video_id": 3,
            "uri": "media/3.jpg",
            "caption": "",
            "created_at": NOON - timedelta(days=1),
            "creator_id": None,
            "kind": "image",
            "categories": None,
        },
    ],
    "searches": [{"search_id": 1, "user_id": 9, "query": "猫", "searched_at": NOON, "reference_video_id": None}],
    "impressions": [{"search_id": 1, "video_id": 7, "position": 1}, {"search_id": 1, "video_id": 3, "position": 0}],
    "clicks": [{"search_id": 1, "video_id": 7, "clicked_at": NOON, "dwell_ms": 4000, "returned_within_ms": None}],
    "comments": [{"comment_id": 5, "video_id": 7, "user_id": 9, "text": "nice", "commented_at": NOON, "likes": 2}],
    "tag_judgements": [{"video_id": 7, "tag": "cat", "relevant": True, "rater": "r1"}],
    "regions": [
        {"video_id": 7, "time_ms": 0, "box": [8.0, 0.0, 9.0, 2.0], "vertical": "pet", "instance": "p1"},
        {"video_id": 7, "time_ms": 0, "box": [1.0, 0.0, 9.0, 2.0], "vertical": "pet", "instance": "p1"},
    ],
}


def jsonl(rows: list[Row]) -> str:
    return "".join(json.dumps(row, default=lambda value: value.isoformat()) + "\n" for row in rows)


@dataclass
class World:
    """A folder of tables and a store to import them into."""

    root: Path
    out: Path

    def parquet(self, name: str, rows: list[Row], schema: Mapping[str, Any] | None = None) -> Path:
        path = self.root / "tables" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(rows, schema=pa.schema(schema)) if schema else pa.Table.from_pylist(rows)
        pq.write_table(table, path)
        return path

    def lines(self, name: str, text: str) -> Path:
        path = self.root / "tables" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def media(self, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def run(self, uri: str | None = None, **settings: object) -> tuple[Artifact, Artifact]:
        import_tables.run(str(self.root) if uri is None else uri, str(self.out / "tables"), str(self.out / "media"), json.dumps(settings))
        store = open_store(str(self.out / "store"))
        return tuple(open_artifact(store, read_manifest_file(self.out / name).id) for name in ("tables", "media"))  # type: ignore[return-value]

    def refusal(self, uri: str | None = None, **settings: object) -> str:
        with pytest.raises(TableError) as caught:
            self.run(uri, **settings)
        assert "\n" not in str(caught.value)
        assert not (self.out / "tables").exists(), "a refused import wrote its output"
        return str(caught.value)


def rows_of(artifact: Artifact, name: str) -> list[Row]:
    return list(pq.read_table(pa.BufferReader(artifact.read(f"{name}.parquet"))).to_pylist())


def comments(num: int = NUM_GOOD, first: int = 100) -> list[Row]:
    return [
        {"comment_id": first + n, "video_id": 7, "user_id": n, "text": f"nice {n}", "commented_at": NOON, "likes": n} for n in range(num)
    ]


def csv_text(rows: list[Row]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([csv_field(value) for value in row.values()] for row in rows)
    return out.getvalue()


def csv_field(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return json.dumps(value)
    return value.isoformat() if isinstance(value, datetime) else value
