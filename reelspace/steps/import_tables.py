"""Bring a user's tables into the store: checked, of one type each, sorted; and list the media files with their hashes."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from pydantic import AwareDatetime, Field

from reelspace.core.errors import TableError
from reelspace.core.schemas import TABLES
from reelspace.core.settings import PLACE, Settings, read
from reelspace.core.steps import StepRun, run_step
from reelspace.core.store import open_source
from reelspace.steps.bad_rows import TableLedger
from reelspace.steps.media_files import S3, MediaFiles
from reelspace.steps.table_batches import Tolerance, check_file
from reelspace.steps.table_files import TableFile, find_tables
from reelspace.steps.table_rows import read_table, write_table
from reelspace.steps.table_rules import RowRules

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ImportSettings(Settings):
    """What is tolerated in the tables, and where the user's own lie.

    Every field is a PLACE: the step always runs, and what it writes is named by its content.
    """

    extra_columns: tuple[str, ...] = Field((), description="Unknown columns that are left out instead of refused.", json_schema_extra=PLACE)
    paths: Mapping[str, str] | None = Field(
        None,
        description="Table name -> file or directory, taken before what lies below tables_uri; None means none.",
        json_schema_extra=PLACE,
    )
    max_bad_ratio: float = Field(
        0.05, ge=0, le=1, description="Share of a table's rows that may go to quarantine before the import stops.", json_schema_extra=PLACE
    )
    earliest: AwareDatetime = Field(
        datetime(2005, 1, 1, tzinfo=UTC), description="A row with a time before it goes to quarantine.", json_schema_extra=PLACE
    )
    latest: AwareDatetime | None = Field(
        None,
        description="A row with a time after it goes to quarantine; None means no bound, since the step does not ask the clock.",
        json_schema_extra=PLACE,
    )
    max_line_bytes: int = Field(
        1 << 24,
        ge=64,
        le=1 << 30,
        description="Longest line of JSON Lines, and longest record of CSV, in bytes; longer ones go to quarantine unread.",
        json_schema_extra=PLACE,
    )


def run(tables_uri: str, tables: str, media: str, settings: str) -> None:
    """Write the artifacts `tables` and `media`.

    `tables` holds one Parquet file per table (empty if there is none), the books of all in ledger.json, and for each table that had
    bad rows quarantine/<table>.jsonl; `media` holds media.parquet.

    Args:
        tables_uri: a directory or `s3://bucket/prefix` that holds `tables/<name>.parquet` (or .jsonl, .csv, .jsonl.gz, .csv.gz) or
            `tables/<name>/` with such files, also in folders `day=YYYY-MM-DD`; relative media uris start here. May be empty when
            the settings give paths: media uris then start at the directory of the videos table.

    Raises:
        TableError: a table is missing, breaks its schema as a whole or has too many bad rows; the message gives table, column,
            file and row. No media file has been read then.
    """
    parsed = read(ImportSettings, settings)
    paths = parsed.paths or {}
    run_step(
        "import_tables",
        "reelspace.steps.import_tables",
        settings=parsed,
        inputs={},
        outputs={"tables": tables, "media": media},
        body=lambda run: _import(run, tables_uri, paths, parsed),
        cache=False,
        places=(_absolute(tables_uri), *(f"{name}={_absolute(path)}" for name, path in sorted(paths.items()))),
    )


def _import(run: StepRun, tables_uri: str, paths: Mapping[str, str], settings: ImportSettings) -> dict[str, object]:
    root = _fetched(tables_uri, run.scratch / "input") if tables_uri.startswith(S3) else Path(tables_uri) if tables_uri else None
    files = find_tables(root if root and (not paths or (root / "tables").is_dir()) else None, paths)
    media = MediaFiles(tables_uri or _folder_of(paths["videos"]))
    for name, found in files.items():
        for file in found:
            check_file(TABLES[name], file, _tolerance(settings, name, media))
    if not files["videos"]:
        raise TableError(f"table videos, file {paths.get('videos') or root}: it has no rows")
    videos, ledgers = _read_all(run.output("tables"), files, settings, media)
    listed = media.list(videos["video_id"].to_pylist(), videos["uri"].to_pylist())
    write_table(listed, run.output("media") / "media.parquet")
    num_quarantined = {name: ledger.num_quarantined for name, ledger in ledgers.items() if ledger.num_quarantined}
    rows = {name: ledger.num_out for name, ledger in ledgers.items()}
    return {"rows": rows, "quarantined": num_quarantined, "media_missing": sum(listed["missing"].to_pylist())}


def _read_all(
    directory: Path, files: Mapping[str, Sequence[TableFile]], settings: ImportSettings, media: MediaFiles
) -> tuple[pa.Table, dict[str, TableLedger]]:
    """Read and write every table, one in memory at a time; give the ids and uris of the videos."""
    ledgers: dict[str, TableLedger] = {}
    videos = pa.table({})
    for name, schema in TABLES.items():
        with TableLedger(directory / "quarantine" / f"{name}.jsonl") as ledger:
            table = read_table(schema, files.get(name, ()), _tolerance(settings, name, media), ledger)
        write_table(table, directory / f"{name}.parquet")
        ledgers[name] = ledger
        if name == "videos":
            _refuse_empty(files["videos"][0], ledger)
            videos = table.select(["video_id", "uri"])
    books = {name: ledger.summary() for name, ledger in ledgers.items()}
    (directory / "ledger.json").write_text(json.dumps(books, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return videos, ledgers


def _refuse_empty(file: TableFile, ledger: TableLedger) -> None:
    if not ledger.num_in:
        raise file.error("it has no rows")
    if not ledger.num_out and ledger.first:
        raise TableError(f"{ledger.first.sentence()}; none of the {ledger.num_in} rows is good")


def _tolerance(settings: ImportSettings, table: str, media: MediaFiles) -> Tolerance:
    rules = RowRules(
        earliest_us=_microseconds(settings.earliest),
        latest_us=_microseconds(settings.latest) if settings.latest else None,
        text_checks={"uri": media.problem} if table == "videos" else {},
    )
    return Tolerance(frozenset(settings.extra_columns), rules, settings.max_line_bytes, settings.max_bad_ratio)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _fetched(tables_uri: str, directory: Path) -> Path:
    source = open_source(tables_uri)
    for key in source.list("tables/"):
        path = directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        source.get_file(key, path)
    return directory


def _folder_of(path: str) -> str:
    return str(Path(path) if Path(path).is_dir() else Path(path).parent)


def _absolute(path: str) -> str:
    return path if path.startswith(S3) or not path else str(Path(path).absolute())
