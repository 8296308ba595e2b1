"""Parquet files of the input tables, read in pieces."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reelspace.core.schemas import TableSchema
from reelspace.steps.table_columns import WrongColumn, check_type
from reelspace.steps.table_files import TableFile
from reelspace.steps.table_header import check_header

_PIECE_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows from number `first` (the file's first is 1) as they lie in the file; `columns` are those of the schema."""

    first: int
    num_rows: int
    columns: Mapping[str, Any]

    def sha256(self, index: int) -> str:
        """Hash a row: its values as JSON, sorted by name, times as numbers of their unit, texts with the bytes they have."""
        values = {name: _plain(array[index]) for name, array in self.columns.items()}
        text = json.dumps(values, ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def check_parquet(schema: TableSchema, file: TableFile, allowed: frozenset[str]) -> None:
    """Refuse a file whose footer is damaged or announces other columns than the table's.

    Raises:
        TableError: one line.
    """
    with _readable(file), pq.ParquetFile(file.path) as source:
        kinds = source.schema_arrow
    check_header(schema, file, kinds.names, allowed)
    for column in schema.columns:
        if column.name in kinds.names:
            try:
                check_type(column, kinds.field(column.name).type)
            except WrongColumn as wrong:
                raise file.error(str(wrong), wrong.column) from wrong


def parquet_pieces(schema: TableSchema, file: TableFile) -> Iterator[Piece]:
    """Read the columns of the schema, piece by piece.

    Raises:
        TableError: a page is damaged, or the rows are not as many as the footer says.
    """
    first = 1
    with _readable(file), pq.ParquetFile(file.path, page_checksum_verification=True) as source:
        names = [column.name for column in schema.columns if column.name in source.schema_arrow.names]
        num_rows = source.metadata.num_rows
        for batch in source.iter_batches(_PIECE_ROWS, columns=names):
            yield Piece(first, batch.num_rows, {name: batch.column(name) for name in names})
            first += batch.num_rows
    if first - 1 != num_rows:
        raise file.error(f"it cannot be read as Parquet: {num_rows} rows are announced, {first - 1} are there")


def parquet_places(schema: TableSchema, file: TableFile, wanted: frozenset[int]) -> Iterator[tuple[int, str]]:
    """Give number and hash of the wanted rows."""
    for piece in parquet_pieces(schema, file):
        for number in sorted(wanted.intersection(range(piece.first, piece.first + piece.num_rows))):
            yield number, piece.sha256(number - piece.first)


@contextmanager
def _readable(file: TableFile) -> Iterator[None]:
    """Name the file in what Arrow says of damage: an ArrowException, or an OSError without a number."""
    try:
        yield
    except PermissionError as error:
        raise file.error(f"it may not be read: {error.strerror}") from error
    except (pa.ArrowException, OSError) as error:
        raise file.error(f"it cannot be read as Parquet: {' '.join(str(error).split())[:200]}") from error


def _plain(scalar: Any) -> object:
    if not scalar.is_valid:
        return None
    if pa.types.is_dictionary(scalar.type):
        return _plain(scalar.value)
    if pa.types.is_timestamp(scalar.type):
        return scalar.value
    if isinstance(scalar, pa.StringScalar | pa.LargeStringScalar | pa.StringViewScalar):
        return scalar.as_buffer().to_pybytes().decode("utf-8", "surrogateescape")
    if isinstance(scalar, pa.ListScalar | pa.LargeListScalar | pa.FixedSizeListScalar):
        return [_plain(item) for item in scalar.values]
    return scalar.as_py()
