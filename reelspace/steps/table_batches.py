"""Reading one file of a table in batches: good rows normalised, bad ones with their reason, memory that does not grow."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from reelspace.core.schemas import Column, TableSchema
from reelspace.steps.bad_rows import BadRow, Fault
from reelspace.steps.parquet_rows import check_parquet, parquet_pieces, parquet_places
from reelspace.steps.table_columns import Checked, WrongColumn, absent, arrow_schema, from_arrow, from_values
from reelspace.steps.table_files import CSV, JSONL, PARQUET, TableFile
from reelspace.steps.table_header import allowed_columns
from reelspace.steps.table_rules import RowRules
from reelspace.steps.text_rows import Place, TextRow, check_csv, csv_rows, jsonl_rows, row_groups


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What the tables may hold beside what their schemas say, and the share of rows that may be bad."""

    extra_columns: frozenset[str]
    rules: RowRules
    max_line_bytes: int
    max_bad_ratio: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a file: the good ones, normalised, with their numbers from 1, and the bad ones by number."""

    rows: pa.Table
    numbers: Sequence[int]
    bad: tuple[BadRow, ...]
    num_in: int


def check_file(schema: TableSchema, file: TableFile, tolerance: Tolerance) -> None:
    """Refuse a file for what its header or footer alone shows.

    Raises:
        TableError: it is damaged, or a column is unknown, missing, there twice or of a wrong type.
    """
    allowed = allowed_columns(file, tolerance.extra_columns)
    if file.kind == PARQUET:
        check_parquet(schema, file, allowed)
    elif file.kind == CSV:
        check_csv(schema, file, allowed, tolerance.max_line_bytes)


def read_batches(schema: TableSchema, file: TableFile, tolerance: Tolerance) -> Iterator[Batch]:
    """Read a file in order.

    Raises:
        TableError: something is wrong with the file as a whole.
    """
    try:
        yield from (_parquet_batches if file.kind == PARQUET else _text_batches)(schema, file, tolerance)
    except WrongColumn as wrong:
        raise file.error(str(wrong), wrong.column) from wrong


def places_of(schema: TableSchema, file: TableFile, tolerance: Tolerance, numbers: Iterable[int]) -> dict[int, Place]:
    """Give hash and bytes of some rows of a file by their numbers; the file is read once more."""
    wanted = frozenset(numbers)
    if file.kind == PARQUET:
        return {number: Place(sha256) for number, sha256 in parquet_places(schema, file, wanted)}
    return {row.number: row.place for row in _text_rows(schema, file, tolerance) if row.number in wanted}


def _parquet_batches(schema: TableSchema, file: TableFile, tolerance: Tolerance) -> Iterator[Batch]:
    for piece in parquet_pieces(schema, file):
        columns = piece.columns

        def checked(column: Column, columns: Mapping[str, Any] = columns, num_rows: int = piece.num_rows) -> Checked:
            return from_arrow(column, columns[column.name], tolerance.rules) if column.name in columns else absent(column, num_rows)

        table, faults = _normalised(schema, checked)
        bad = tuple(BadRow(file, piece.first + index, fault, piece.sha256(index)) for index, fault in sorted(faults.items()))
        yield Batch(_kept(table, faults), _numbers_without(range(piece.first, piece.first + piece.num_rows), faults), bad, piece.num_rows)


def _text_batches(schema: TableSchema, file: TableFile, tolerance: Tolerance) -> Iterator[Batch]:
    for group in row_groups(file, _text_rows(schema, file, tolerance)):
        readable = [row for row in group if row.fault is None]

        def checked(column: Column, readable: Sequence[TextRow] = readable) -> Checked:
            values = [row.values.get(column.name) for row in readable]
            return from_values(column, values, tolerance.rules, is_csv=file.kind == CSV)

        table, faults = _normalised(schema, checked)
        found = [(row, row.fault) for row in group if row.fault is not None]
        found += [(readable[index], fault) for index, fault in faults.items()]
        bad = (BadRow(file, row.number, fault, *row.place) for row, fault in sorted(found, key=lambda pair: pair[0].number))
        yield Batch(_kept(table, faults), _numbers_without([row.number for row in readable], faults), tuple(bad), len(group))


def _text_rows(schema: TableSchema, file: TableFile, tolerance: Tolerance) -> Iterator[TextRow]:
    read: Callable[[TableSchema, TableFile, frozenset[str], int], Iterator[TextRow]] = _TEXT_READERS[file.kind]
    return read(schema, file, allowed_columns(file, tolerance.extra_columns), tolerance.max_line_bytes)


def _normalised(schema: TableSchema, checked: Callable[[Column], Checked]) -> tuple[pa.Table, dict[int, Fault]]:
    """Make all columns; a row's fault is that of its first wrong column."""
    columns = [checked(column) for column in schema.columns]
    faults: dict[int, Fault] = {}
    for column in columns:
        faults = {**column.faults, **faults}
    return pa.Table.from_arrays([column.array for column in columns], schema=arrow_schema(schema)), faults


def _kept(table: pa.Table, faults: Mapping[int, Fault]) -> pa.Table:
    return table.filter(pa.array(_good(table.num_rows, faults))) if faults else table


def _numbers_without(numbers: Sequence[int], faults: Mapping[int, Fault]) -> Sequence[int]:
    # A range takes no memory: most batches have no bad row.
    return np.asarray(numbers)[_good(len(numbers), faults)].tolist() if faults else numbers


def _good(num_rows: int, faults: Mapping[int, Fault]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    good = np.ones(num_rows, np.bool_)
    good[list(faults)] = False
    return good


_TEXT_READERS: Final[Mapping[str, Callable[[TableSchema, TableFile, frozenset[str], int], Iterator[TextRow]]]] = {
    JSONL: jsonl_rows,
    CSV: csv_rows,
}
