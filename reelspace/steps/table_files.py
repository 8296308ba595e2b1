"""The files of the input tables: where they lie, and reading them strictly into one normalised table each."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reelspace.core.errors import TableError
from reelspace.core.schemas import TABLES, Column, TableSchema
from reelspace.steps.table_columns import ColumnProblem, absent, arrow_schema, from_arrow, from_json

_PARTITION = "day="
_ROWS_PER_GROUP = 1 << 16


@dataclass(frozen=True, slots=True)
class TableFile:
    """One file of a table; `partitioned` tells that a folder `day=...` gives the day, so a column of that name is dropped."""

    table: str
    path: Path
    partitioned: bool = False

    def error(self, what: str, column: str | None = None, row: int | None = None) -> TableError:
        """Make the one-line error of this file."""
        where = [f"table {self.table}", *([f"column {column}"] if column else []), f"file {self.path}", *([f"row {row}"] if row else [])]
        return TableError(f"{', '.join(where)}: {what}")


def find_tables(root: Path | None, paths: Mapping[str, str]) -> dict[str, tuple[TableFile, ...]]:
    """Find the files of every table.

    Args:
        root: a directory that holds `tables/<name>.parquet`, `tables/<name>.jsonl` or `tables/<name>/...`; None if there is none.
        paths: table name -> a file or a directory of the user's own, taken before what lies in `root`.

    Raises:
        TableError: a name is no table's, a table lies there twice, or `videos` is missing.
    """
    places = {**_places_below(root), **_places_given(paths)} if root else _places_given(paths)
    found = {name: tuple(_files(name, path)) for name, path in places.items()}
    if "videos" not in found:
        where = f"{root}/tables/videos.parquet, videos.jsonl or videos/" if root else "no path is given for it"
        raise TableError(f"table videos is missing: {where} was expected")
    return found


def read_table(schema: TableSchema, files: Sequence[TableFile], extra_columns: Iterable[str]) -> pa.Table:
    """Read, check and sort one table; with no files it is empty.

    Raises:
        TableError: one line with table, column, file and row of the first problem.
    """
    allowed = frozenset(extra_columns)
    parts = [_read_file(schema, file, allowed) for file in files]
    table = pa.concat_tables([arrow_schema(schema).empty_table(), *parts])
    _check_unique(schema, table, files, [part.num_rows for part in parts])
    return _sorted(schema, table)


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet whose bytes depend on the rows alone."""
    pq.write_table(table.combine_chunks(), path, compression="zstd", compression_level=3, row_group_size=_ROWS_PER_GROUP, version="2.6")


def nearest(name: str, known: Iterable[str]) -> str:
    """Give the words that name the nearest known name, or all of them."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"the nearest is {close[0]}" if close else f"known are {', '.join(names)}"


def _places_below(root: Path) -> dict[str, Path]:
    folder = root / "tables"
    if not folder.is_dir():
        raise TableError(f"no tables in {root}: expected a directory {folder} with videos.parquet, videos.jsonl or videos/")
    places: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if _is_hidden(path):
            continue
        name = path.name if path.is_dir() else path.name.removesuffix(path.suffix)
        _check_name(name, path)
        if name in places:
            raise TableError(f"table {name} is there twice: {places[name]} and {path}")
        places[name] = path
    return places


def _places_given(paths: Mapping[str, str]) -> dict[str, Path]:
    for name, path in paths.items():
        _check_name(name, path)
    return {name: Path(path) for name, path in paths.items()}


def _check_name(name: str, path: Path | str) -> None:
    if name not in TABLES:
        raise TableError(f"{path} is no table of ours: {nearest(name, TABLES)}")


def _is_hidden(path: Path) -> bool:
    return path.name.startswith((".", "_"))


def _files(table: str, path: Path) -> list[TableFile]:
    if path.is_dir():
        return [file for entry in sorted(path.iterdir()) if not _is_hidden(entry) for file in _directory_entry(table, entry)]
    if not path.is_file():
        raise TableError(f"table {table}: no file or directory {path}")
    return [_file(table, path, partitioned=False)]


def _directory_entry(table: str, entry: Path) -> list[TableFile]:
    if not entry.is_dir():
        return [_file(table, entry, partitioned=False)]
    if not entry.name.startswith(_PARTITION):
        raise TableError(f"table {table}: directory {entry} is no partition, expected a name such as {_PARTITION}2025-01-31")
    return [_file(table, path, partitioned=True) for path in sorted(entry.iterdir()) if not _is_hidden(path)]


def _file(table: str, path: Path, *, partitioned: bool) -> TableFile:
    if path.suffix not in _READERS or not path.is_file():
        raise TableError(f"table {table}: {path} is no file of a kind we read, expected {' or '.join(_READERS)}")
    return TableFile(table, path, partitioned)


def _read_file(schema: TableSchema, file: TableFile, allowed: frozenset[str]) -> pa.Table:
    try:
        return _READERS[file.path.suffix](schema, file, allowed | {"day"} if file.partitioned else allowed)
    except ColumnProblem as problem:
        raise file.error(str(problem), problem.column, problem.row) from problem


def _read_parquet(schema: TableSchema, file: TableFile, allowed: frozenset[str]) -> pa.Table:
    try:
        table = pq.ParquetFile(file.path).read()
    except pa.ArrowException as error:
        raise file.error(f"it cannot be read as Parquet: {_one_line(error)}") from error
    _check_columns(schema, file, table.column_names, allowed)
    return _normalised(schema, lambda column: from_arrow(column, table[column.name]), table.column_names, table.num_rows)


def _read_jsonl(schema: TableSchema, file: TableFile, allowed: frozenset[str]) -> pa.Table:
    rows = [_json_row(schema, file, number, line, allowed) for number, line in enumerate(file.path.read_bytes().splitlines(), start=1)]
    # A column that no line holds is an optional one left out, or an error when the column is checked.
    return _normalised(
        schema,
        lambda column: from_json(column, [row.get(column.name) for row in rows]),
        [column.name for column in schema.columns],
        len(rows),
    )


def _json_row(schema: TableSchema, file: TableFile, number: int, line: bytes, allowed: frozenset[str]) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise file.error(f"it is not JSON: {_one_line(error)}", row=number) from error
    if not isinstance(row, dict):
        raise file.error(f"expected a JSON object, got {type(row).__name__}", row=number)
    _check_columns(schema, file, row, allowed, number)
    return row


def _check_columns(schema: TableSchema, file: TableFile, names: Iterable[str], allowed: frozenset[str], row: int | None = None) -> None:
    present = list(names)
    known = [column.name for column in schema.columns]
    for name in present:
        if name not in known and name not in allowed:
            raise file.error(f"the column is unknown, {nearest(name, known)}; list it in extra_columns to have it left out", name, row)
        if present.count(name) > 1:
            raise file.error("the column is there twice", name, row)
    for column in schema.columns:
        if column.required and column.name not in present:
            raise file.error("the column is missing", column.name, row)


def _normalised(schema: TableSchema, read: Callable[[Column], pa.Array], present: Sequence[str], num_rows: int) -> pa.Table:
    arrays = [read(column) if column.name in present else absent(column, num_rows) for column in schema.columns]
    return pa.Table.from_arrays(arrays, schema=arrow_schema(schema))


def _check_unique(schema: TableSchema, table: pa.Table, files: Sequence[TableFile], sizes: Sequence[int]) -> None:
    if not schema.unique:
        return
    numbered = table.select(list(schema.unique)).append_column("row", pa.array(np.arange(table.num_rows)))
    groups = numbered.group_by(list(schema.unique)).aggregate([("row", "count"), ("row", "min"), ("row", "max")])
    doubled = groups.filter(pc.greater(groups["row_count"], 1)).sort_by("row_min")
    if not doubled.num_rows:
        return
    first = doubled.slice(0, 1).to_pylist()[0]
    (file_1, row_1), (file_2, row_2) = (_place_of(first[name], files, sizes) for name in ("row_min", "row_max"))
    key = ", ".join(str(first[name]) for name in schema.unique)
    raise file_2.error(f"{key} is there twice, first in file {file_1.path}, row {row_1}", "+".join(schema.unique), row_2)


def _place_of(row: int, files: Sequence[TableFile], sizes: Sequence[int]) -> tuple[TableFile, int]:
    for file, size in zip(files, sizes, strict=True):
        if row < size:
            return file, row + 1
        row -= size
    raise IndexError(row)


def _sorted(schema: TableSchema, table: pa.Table) -> pa.Table:
    """Sort by the schema's order; rows that are equal there, by the numbers of their boxes."""
    keys = list(schema.order)
    work = table
    if "box" in table.column_names:
        numbers = pc.list_flatten(table["box"]).to_numpy().reshape(-1, 4) if table.num_rows else None
        for axis in range(4):
            work = work.append_column(f"box.{axis}", pa.array([] if numbers is None else numbers[:, axis], pa.float32()))
            keys.append(f"box.{axis}")
    order = pc.sort_indices(work, sort_keys=[(key, "ascending") for key in keys])
    return table.take(order)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


_READERS: Final[Mapping[str, Callable[[TableSchema, TableFile, frozenset[str]], pa.Table]]] = {
    ".parquet": _read_parquet,
    ".jsonl": _read_jsonl,
}
