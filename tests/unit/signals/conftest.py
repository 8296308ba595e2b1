"""Small tables written by hand, as the step import_tables leaves them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelspace.core.schemas import TABLES

Row = Mapping[str, Any]
WriteTables = Callable[..., Path]
DAY = datetime(2025, 1, 1, tzinfo=UTC)
_TYPES = {
    "int64": pa.int64(),
    "int32": pa.int32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "text": pa.large_string(),
    "bool": pa.bool_(),
    "list<text>": pa.list_(pa.large_string()),
}
_DEFAULTS: Mapping[str, Row] = {
    "videos": {"uri": "x.mp4", "caption": "", "created_at": DAY},
    "searches": {"searched_at": DAY},
    "clicks": {"clicked_at": DAY, "dwell_ms": 10_000},
    "comments": {"commented_at": DAY, "likes": 0},
    "tag_judgements": {"rater": "one"},
}


@pytest.fixture
def write_tables(tmp_path: Path) -> WriteTables:
    """Write the tables given as lists of rows, the others empty; gives the directory."""

    def write(**rows_of: Sequence[Row]) -> Path:
        directory = tmp_path / "tables"
        directory.mkdir(exist_ok=True)
        for name, defaults in _DEFAULTS.items():
            columns = TABLES[name].columns
            rows = [{column.name: (defaults | dict(row)).get(column.name) for column in columns} for row in rows_of.get(name, ())]
            schema = pa.schema([(column.name, _TYPES[column.type]) for column in columns])
            pq.write_table(pa.Table.from_pylist(rows, schema=schema), directory / f"{name}.parquet")
        return directory

    return write
