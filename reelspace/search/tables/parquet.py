"""Rows in a Parquet file: a column of ids, columns of vectors, and the rest as payload.

A column `vector` holds the unnamed vector, any other column of lists of floats the vector of its name, unless told otherwise.
A column `payload` of texts holds whole payloads as JSON objects, which other columns only add keys to.
Legend: N rows of one batch, D dimension.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from reelspace.core.errors import TableError
from reelspace.search.tables.batch import BATCH_ROWS, NO_PAYLOAD, Batch, Batches, Floats, checked_dimension, float32_ND
from reelspace.search.tables.id_column import check_id_type, ids_of
from reelspace.search.tables.payload_json import json_rows, json_type

UNNAMED: Final = "vector"
"""Column of the vector with the empty name."""
_BUFFER_BYTES: Final = 1 << 20
_NULL: Final = "Expected all lists to be of size"


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns are what.

    Args:
        vectors: column by vector's name; None: every column of lists of floats.
        payload: column of JSON objects, if the file has it; None: such a column is a text of the payload like others.
    """

    id: str = "id"
    vectors: Mapping[str, str] | None = None
    payload: str | None = "payload"


@dataclass(frozen=True, slots=True)
class _Table:
    """A file whose columns fit, and the dimension of each vector as far as the schema tells it."""

    path: Path
    id: str
    vectors: Mapping[str, str]
    payload: str | None
    others: tuple[str, ...]
    dimensions: dict[str, int] = field(default_factory=dict)


def read_parquet(path: Path, columns: Columns | None = None, batch_rows: int = BATCH_ROWS) -> Batches:
    """Open a file; ids are integers or UUIDs as text or 16 bytes, vectors lists of float16, float32 or float64 of one length.

    An id may come twice: who writes the rows decides which counts. Memory is that of a batch and of a page of each column.

    Raises:
        TableError: it is no Parquet file, a column is missing or of a type that cannot be read, or it claims vectors that are too long.
            Reading raises it for a null or an id that is none, a vector that is null, not finite or of another length, and a payload
            that has no form in JSON; names file, row and column.
    """
    columns = columns or Columns()
    with _told(path), pq.ParquetFile(path) as file:
        table = _table(path, file.schema_arrow, columns)
        _check_lengths(table, file)
        num_rows = file.metadata.num_rows
    return Batches(num_rows, lambda: _batches(table, batch_rows))


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell what Arrow cannot read by the name of the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise TableError(f"{path}: expected a readable file: {error.strerror}") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: expected a whole Parquet file: {' '.join(str(error).split())}") from error


def _table(path: Path, schema: pa.Schema, columns: Columns) -> _Table:
    twice = [name for name in schema.names if schema.names.count(name) > 1]
    if twice:
        raise TableError(f"{path}: expected each column once, {twice[0]!r} is there twice")
    vectors = columns.vectors
    if vectors is None:
        vectors = {"" if name == UNNAMED else name: name for name in schema.names if _is_floats(schema.field(name).type)}
    missing = [name for name in (columns.id, *vectors.values()) if name not in schema.names]
    if missing or not vectors:
        wanted = f"a column {missing[0]!r}" if missing else "a column of lists of floats"
        raise TableError(f"{path}: expected {wanted}, it has {', '.join(schema.names)}; name the columns")
    check_id_type(f"{path}: column {columns.id!r}", schema.field(columns.id).type)
    rest = [name for name in schema.names if name != columns.id and name not in vectors.values()]
    whole = columns.payload if columns.payload in rest else None
    table = _Table(path, columns.id, vectors, whole, tuple(name for name in rest if name != whole))
    for name in vectors.values():
        _check_vector_type(table, name, schema.field(name).type)
    for name in table.others:
        json_type(f"{path}: column {name!r}", schema.field(name).type)
    if whole is not None and not _is_text(schema.field(whole).type):
        raise TableError(f"{path}: column {whole!r}: expected texts of JSON objects, got {schema.field(whole).type}; rename the column")
    return table


def _is_list(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def _is_floats(kind: pa.DataType) -> bool:
    return _is_list(kind) and bool(pa.types.is_floating(kind.value_type))


def _is_text(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string))


def _check_vector_type(table: _Table, column: str, kind: pa.DataType) -> None:
    where = f"{table.path}: column {column!r}"
    if not _is_floats(kind):
        raise TableError(f"{where}: expected lists of float16, float32 or float64, got {kind}")
    if pa.types.is_fixed_size_list(kind):
        table.dimensions[column] = checked_dimension(where, kind.list_size)


def _check_lengths(table: _Table, file: pq.ParquetFile) -> None:
    """Refuse what claims more numbers than vectors may have, before a page is unpacked."""
    for group in range(file.metadata.num_row_groups):
        facts = file.metadata.row_group(group)
        for number in range(facts.num_columns):
            chunk = facts.column(number)
            name = chunk.path_in_schema.partition(".")[0]
            if name in table.vectors.values() and facts.num_rows:
                checked_dimension(f"{table.path}: column {name!r}", max(1, chunk.num_values // facts.num_rows))


def _batches(table: _Table, batch_rows: int) -> Iterator[Batch]:
    names, start = [table.id, *table.vectors.values(), *table.others, *([table.payload] if table.payload else [])], 0
    dimensions = dict(table.dimensions)
    with (
        _told(table.path),
        pq.ParquetFile(table.path, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True) as file,
    ):
        batches = iter(file.iter_batches(batch_rows, columns=names, use_threads=False))
        while (rows := _next(table, file, batches, start)) is not None:
            yield Batch(
                ids=ids_of(f"{table.path}", table.id, rows.column(table.id), start),
                vectors={
                    name: _vectors_ND(f"{table.path}", column, rows.column(column), start, dimensions)
                    for name, column in table.vectors.items()
                },
                payloads=_payloads(table, rows, start),
            )
            start += rows.num_rows


def _next(table: _Table, file: pq.ParquetFile, batches: Iterator[pa.RecordBatch], start: int) -> pa.RecordBatch | None:
    try:
        return next(batches, None)
    except pa.ArrowInvalid as error:
        # Arrow reads no null into lists of a fixed length, and does not tell its row.
        for column in table.dimensions if _NULL in str(error) else ():
            row = _first_unread(file, column, start)
            if row is not None:
                raise TableError(f"{table.path}: column {column!r}: row {row}: expected a vector, got null") from error
        raise


def _first_unread(file: pq.ParquetFile, column: str, start: int) -> int | None:
    row = 0
    for group in range(file.metadata.num_row_groups):
        num_rows = file.metadata.row_group(group).num_rows
        if row + num_rows <= start:
            row += num_rows
            continue
        try:
            for _ in file.iter_batches(1, row_groups=[group], columns=[column], use_threads=False):
                row += 1
        except pa.ArrowInvalid:
            return row
    return None


def _vectors_ND(path: str, column: str, lists: pa.Array, start: int, dimensions: dict[str, int]) -> Floats:
    where = f"{path}: column {column!r}"
    if lists.null_count:
        raise TableError(f"{where}: row {start + _first(lists.is_null())}: expected a vector, got null")
    lengths_N = np.full(len(lists), lists.type.list_size) if pa.types.is_fixed_size_list(lists.type) else np.asarray(lists.value_lengths())
    dimension = dimensions.setdefault(column, int(lengths_N[0]))
    checked_dimension(f"{where}: row {start}", dimension)
    other = np.flatnonzero(lengths_N != dimension)
    if len(other):
        row = start + int(other[0])
        raise TableError(f"{where}: row {row}: expected {dimension} numbers as in the first row, got {lengths_N[other[0]]}")
    values = lists.flatten()
    if values.null_count:
        row = start + _first(values.is_null()) // dimension
        raise TableError(f"{where}: row {row}: expected numbers, got null among them")
    return float32_ND(where, values.to_numpy(zero_copy_only=False).reshape(len(lists), dimension), start)


def _payloads(table: _Table, rows: pa.RecordBatch, start: int) -> Sequence[bytes]:
    if not table.others and table.payload is None:
        return [NO_PAYLOAD] * rows.num_rows
    added = json_rows(str(table.path), {name: rows.column(name) for name in table.others}, start) if table.others else None
    if table.payload is None:
        assert added is not None
        return added
    texts = rows.column(table.payload).to_pylist()
    where = f"{table.path}: column {table.payload!r}"
    return [_payload(f"{where}: row {start + place}", text, added[place] if added else NO_PAYLOAD) for place, text in enumerate(texts)]


def _payload(where: str, text: str | None, added: bytes) -> bytes:
    whole = NO_PAYLOAD if text is None else text.encode()
    try:
        values: Any = orjson.loads(whole)
    except orjson.JSONDecodeError as error:
        raise TableError(f"{where}: expected a JSON object: {error}") from error
    if not isinstance(values, dict):
        raise TableError(f"{where}: expected a JSON object, got {whole[:60]!r}")
    if added == NO_PAYLOAD:
        return whole
    more: dict[str, Any] = orjson.loads(added)
    both = sorted(values.keys() & more.keys())
    if both:
        raise TableError(f"{where}: key {both[0]!r} is a column, too")
    return orjson.dumps(values | more)


def _first(mask: pa.Array) -> int:
    return int(np.argmax(mask.to_numpy(zero_copy_only=False)))
