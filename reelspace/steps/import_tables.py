"""Bring a user's tables into the store: checked, of one type each, sorted; and list the media files with their hashes."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pydantic import Field

from reelspace.core.errors import ArtifactMissing, TableError
from reelspace.core.keys import key_problem
from reelspace.core.progress import progress
from reelspace.core.schemas import TABLES
from reelspace.core.settings import PLACE, Settings, read
from reelspace.core.steps import StepRun, run_step
from reelspace.core.store import Store, open_source
from reelspace.steps.table_files import find_tables, read_table, write_table

_S3 = "s3://"
_CHUNK_BYTES = 1 << 20
_NUM_READERS = 4
_MEDIA_SCHEMA = pa.schema(
    {
        "video_id": pa.int64(),
        "uri": pa.large_string(),
        "sha256": pa.large_string(),
        "size_bytes": pa.int64(),
        "missing": pa.bool_(),
    }
)


class ImportSettings(Settings):
    """What is tolerated in the tables, and where the user's own lie."""

    extra_columns: tuple[str, ...] = Field((), description="Unknown columns that are left out instead of refused.", json_schema_extra=PLACE)
    paths: Mapping[str, str] | None = Field(
        None,
        description="Table name -> file or directory, taken before what lies below tables_uri; None means none.",
        json_schema_extra=PLACE,
    )


@dataclass(frozen=True, slots=True)
class _MediaFile:
    sha256: str
    size_bytes: int


def run(tables_uri: str, tables: str, media: str, settings: str) -> None:
    """Write the artifacts `tables` (one Parquet file per table, empty if there is none) and `media` (media.parquet).

    Args:
        tables_uri: a directory or `s3://bucket/prefix` that holds `tables/<name>.parquet`, `tables/<name>.jsonl` or `tables/<name>/`
            with such files, also in folders `day=YYYY-MM-DD`; relative media uris start here. May be empty when the settings
            give paths: media uris then start at the directory of the videos table.

    Raises:
        TableError: a table is missing or breaks its schema; the message gives table, column, file and row.
    """
    parsed = read(ImportSettings, settings)
    paths = parsed.paths or {}
    run_step(
        "import_tables",
        "reelspace.steps.import_tables",
        settings=parsed,
        inputs={},
        outputs={"tables": tables, "media": media},
        body=lambda run: _import(run, tables_uri, paths, parsed.extra_columns),
        cache=False,
        places=(_absolute(tables_uri), *(f"{name}={_absolute(path)}" for name, path in sorted(paths.items()))),
    )


def _import(run: StepRun, tables_uri: str, paths: Mapping[str, str], extra_columns: Sequence[str]) -> dict[str, object]:
    root = _fetched(tables_uri, run.scratch / "input") if tables_uri.startswith(_S3) else Path(tables_uri) if tables_uri else None
    files = find_tables(root if root and (not paths or (root / "tables").is_dir()) else None, paths)
    rows: dict[str, int] = {}
    for name, schema in TABLES.items():
        table = read_table(schema, files.get(name, ()), extra_columns)
        if name == "videos":
            if not table.num_rows:
                raise TableError(f"table videos, file {files['videos'][0].path if files['videos'] else root}: it has no rows")
            media = _media(table["video_id"].to_pylist(), table["uri"].to_pylist(), tables_uri or _folder_of(paths["videos"]))
        write_table(table, run.output("tables") / f"{name}.parquet")
        rows[name] = table.num_rows
    write_table(media, run.output("media") / "media.parquet")
    return {"rows": rows, "media_missing": sum(media["missing"].to_pylist())}


def _media(video_ids: Sequence[int], uris: Sequence[str], root: str) -> pa.Table:
    sources = _Sources(root)
    with progress(len(uris), "hash media") as bar, ThreadPoolExecutor(_NUM_READERS) as pool:
        found: list[_MediaFile | None] = []
        for file in pool.map(sources.measure, uris):
            found.append(file)
            bar.advance()
    columns = {
        "video_id": list(video_ids),
        "uri": list(uris),
        "sha256": [file.sha256 if file else None for file in found],
        "size_bytes": [file.size_bytes if file else None for file in found],
        "missing": [file is None for file in found],
    }
    return pa.table(columns, schema=_MEDIA_SCHEMA)


class _Sources:
    """Reads media by uri: absolute, `s3://bucket/key`, or relative to a root of either kind."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._buckets: dict[str, Store] = {}

    def measure(self, uri: str) -> _MediaFile | None:
        """Give hash and size of one file, None if it is not there."""
        digest, size_bytes = hashlib.sha256(), 0
        try:
            for chunk in self._chunks(uri):
                digest.update(chunk)
                size_bytes += len(chunk)
        except (ArtifactMissing, FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        return _MediaFile(digest.hexdigest(), size_bytes)

    def _chunks(self, uri: str) -> Iterator[bytes]:
        full = uri if uri.startswith((_S3, "/")) else f"{self._root.rstrip('/')}/{uri}"
        bucket, _, key = full.removeprefix(_S3).partition("/")
        if "\0" in uri or (full.startswith(_S3) and key_problem(key)) or ("://" in uri and not uri.startswith(_S3)):
            raise TableError(f"table videos, column uri: expected a path or {_S3}bucket/key, got {uri[:100]!r}")
        return self._bucket(bucket).stream(key) if full.startswith(_S3) else _file_chunks(Path(full))

    def _bucket(self, name: str) -> Store:
        if name not in self._buckets:
            self._buckets[name] = open_source(f"{_S3}{name}")
        return self._buckets[name]


def _file_chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except PermissionError as error:
        raise TableError(f"table videos, column uri: {path} may not be read: {error.strerror}") from error


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
    return path if path.startswith(_S3) or not path else str(Path(path).absolute())
