"""Bring a labelled table into the store for fine-tuning: checked like the input tables, of one type, sorted."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from reelspace.core.errors import TableError
from reelspace.core.schemas import Column, TableSchema
from reelspace.core.settings import PLACE, Settings, read
from reelspace.core.steps import StepRun, run_step
from reelspace.core.store import open_source
from reelspace.steps.bad_rows import TableLedger
from reelspace.steps.media_files import S3
from reelspace.steps.table_batches import Tolerance, check_file
from reelspace.steps.table_files import PARQUET, TableFile, files_of
from reelspace.steps.table_rows import read_table, write_table
from reelspace.steps.table_rules import RowRules

LABELLED_FILE: Final = "labelled.parquet"
SPLITS: Final = ("train", "held_out")
_MAX_LINE_BYTES = 1 << 20


class ImportLabelledSettings(Settings):
    """What is tolerated in a labelled table. Every field is a PLACE: the step always runs, and what it writes is named by its content."""

    extra_columns: tuple[str, ...] = Field((), description="Unknown columns that are left out instead of refused.", json_schema_extra=PLACE)
    max_bad_ratio: float = Field(
        0.05, ge=0, le=1, description="Share of rows that may go to quarantine before the import stops.", json_schema_extra=PLACE
    )


def run(table_uri: str, table: str, settings: str) -> None:
    """Write labelled.parquet (video_id, label, split), its books in ledger.json and, where rows were bad, quarantine/labelled.jsonl.

    Args:
        table_uri: a .parquet, .jsonl, .csv (or .gz of the latter two) file, a directory of such files, or `s3://bucket/prefix` of one.
            Columns: `video_id`; `label`, text (several rows of one work are several labels) or, in Parquet and JSON Lines, a list of
            texts (none: the work has none of the classes); `split`, if given `train` or `held_out` or null.

    Raises:
        TableError: a column is missing, unknown or of a wrong type, too many rows are bad, or there is none.
    """
    parsed = read(ImportLabelledSettings, settings)
    run_step(
        "import_labelled",
        __name__,
        settings=parsed,
        inputs={},
        outputs={"table": table},
        body=lambda step: _import(step, table_uri, parsed),
        cache=False,
        places=(table_uri if table_uri.startswith(S3) else str(Path(table_uri).absolute()),),
    )


def _import(step: StepRun, table_uri: str, settings: ImportLabelledSettings) -> dict[str, object]:
    path = _fetched(table_uri, step.scratch / "input") if table_uri.startswith(S3) else Path(table_uri)
    files = files_of("labelled", path)
    if not files:
        raise TableError(f"table labelled: no file in {table_uri}, expected Parquet, JSON Lines or CSV")
    schema = _schema(files)
    tolerance = Tolerance(frozenset(settings.extra_columns), RowRules(), _MAX_LINE_BYTES, settings.max_bad_ratio)
    for file in files:
        check_file(schema, file, tolerance)
    out = step.output("table")
    with TableLedger(out / "quarantine" / "labelled.jsonl") as ledger:
        rows = read_table(schema, files, tolerance, ledger)
    if not ledger.num_in:
        raise files[0].error("it has no rows")
    if not ledger.num_out and ledger.first:
        raise TableError(f"{ledger.first.sentence()}; none of the {ledger.num_in} rows is good")
    write_table(rows, out / LABELLED_FILE)
    (out / "ledger.json").write_text(json.dumps(ledger.summary(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return {"rows": ledger.num_out, "quarantined": ledger.num_quarantined}


def _schema(files: Sequence[TableFile]) -> TableSchema:
    """Give the table's schema; its first file tells whether a label is text or a list."""
    is_list = _has_lists(files[0])
    columns = (
        Column("video_id", "int64"),
        Column("label", "list<text>" if is_list else "text"),
        Column("split", "text", required=False, choices=SPLITS),
    )
    key = ("video_id",) if is_list else ("video_id", "label")
    return TableSchema("labelled", columns, unique=key, order=key)


def _has_lists(file: TableFile) -> bool:
    """Tell whether the labels of a file are lists; of a damaged one the reader tells what is wrong."""
    if file.kind == PARQUET:
        try:
            schema = pq.read_schema(file.path)
        except (pa.ArrowException, OSError):
            return False
        return "label" in schema.names and pa.types.is_nested(schema.field("label").type)
    with file.open() as source:
        try:
            first = orjson.loads(source.readline(_MAX_LINE_BYTES))
        except ValueError:
            return False
    return isinstance(first, dict) and isinstance(first.get("label"), list)


def _fetched(table_uri: str, directory: Path) -> Path:
    place, _, name = table_uri.rstrip("/").rpartition("/")
    source = open_source(place)
    directory.mkdir()
    keys = [key for key in source.list(name) if key == name or key.startswith(f"{name}/")]
    for key in keys:
        path = directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        source.get_file(key, path)
    if not keys:
        shutil.rmtree(directory)
        raise TableError(f"table labelled: nothing at {table_uri}")
    return directory / name
