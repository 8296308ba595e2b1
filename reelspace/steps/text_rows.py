"""Rows of JSON Lines and CSV, read one by one: values, or why there are none."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from reelspace.core.schemas import TableSchema
from reelspace.steps.bad_rows import UNREADABLE, Fault, Reason
from reelspace.steps.table_csv import Record, read_records
from reelspace.steps.table_files import TableFile
from reelspace.steps.table_header import check_header, refuse_missing, refuse_unknown
from reelspace.steps.table_lines import Line, read_lines
from reelspace.steps.table_values import utf8_problem

_GROUP_ROWS = 1 << 16
_GROUP_BYTES = 1 << 25
_MAX_UNREADABLE = 100
"""As many rows at the start of a file, none of them readable, make it a file of another kind."""
_BOM = b"\xef\xbb\xbf"
_LONG_INTEGER = 2**63


class Place(NamedTuple):
    """Hash and bytes (start, end) of a row; no bytes are known in Parquet."""

    sha256: str
    byte_range: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class TextRow:
    """One row, numbered from 1 (the line in JSON Lines, the record after the header in CSV); values are empty if it has a fault."""

    number: int
    line: Line
    values: Mapping[str, object]
    fault: Fault | None = None

    @property
    def place(self) -> Place:
        """Hash and bytes."""
        return Place(self.line.sha256, (self.line.start, self.line.end))


def jsonl_rows(schema: TableSchema, file: TableFile, allowed: frozenset[str], max_line_bytes: int) -> Iterator[TextRow]:
    """Read JSON Lines.

    Raises:
        TableError: a row has an unknown column, or no row has a required one.
    """
    known = allowed.union(column.name for column in schema.columns)
    integers = [column.name for column in schema.columns if column.type.startswith("int")]
    seen: set[str] = set()
    with _unpacked(file) as lines:
        for number, line in enumerate(read_lines(lines, max_line_bytes), start=1):
            values = _json_values(line, max_line_bytes)
            if isinstance(values, Fault):
                yield TextRow(number, line, {}, values)
                continue
            if not values.keys() <= known:
                refuse_unknown(schema, file, values, allowed, number)
            seen |= values.keys()
            yield TextRow(number, line, _with_long_integers(line, values, integers))
    if seen:
        refuse_missing(schema, file, seen)


def csv_rows(schema: TableSchema, file: TableFile, allowed: frozenset[str], max_line_bytes: int) -> Iterator[TextRow]:
    """Read CSV with a header; an empty field is null.

    Raises:
        TableError: there is no header, or its columns are not those of the table.
    """
    with _unpacked(file) as lines:
        records = read_records(read_lines(lines, max_line_bytes), max_line_bytes)
        names = _header(file, next(records, None))
        check_header(schema, file, names, allowed)
        for number, record in enumerate(records, start=1):
            values = _csv_values(record, names, max_line_bytes)
            if isinstance(values, Fault):
                yield TextRow(number, record.line, {}, values)
            else:
                yield TextRow(number, record.line, values)


def check_csv(schema: TableSchema, file: TableFile, allowed: frozenset[str], max_line_bytes: int) -> None:
    """Refuse a CSV file for its header."""
    next(csv_rows(schema, file, allowed, max_line_bytes), None)


def row_groups(file: TableFile, rows: Iterable[TextRow]) -> Iterator[list[TextRow]]:
    """Gather rows to be normalised together, bounded in number and bytes.

    Raises:
        TableError: the file begins with rows of which none can be read.
    """
    group: list[TextRow] = []
    num_bytes = 0
    for row in _of_this_kind(file, rows):
        group.append(row)
        num_bytes += len(row.line.data or b"")
        if len(group) >= _GROUP_ROWS or num_bytes >= _GROUP_BYTES:
            yield group
            group, num_bytes = [], 0
    if group:
        yield group


def _of_this_kind(file: TableFile, rows: Iterable[TextRow]) -> Iterator[TextRow]:
    """Pass rows on, and stop when none of the first ones can be read."""
    first: Fault | None = None
    only_unreadable = True
    for row in rows:
        first = first or row.fault
        only_unreadable = only_unreadable and row.fault is not None and row.fault.reason in UNREADABLE
        if only_unreadable and first and row.number >= _MAX_UNREADABLE:
            raise file.error(f"none of the first {row.number} rows can be read as {file.kind}; the first: {first.detail}", row=1)
        yield row


@contextmanager
def _unpacked(file: TableFile) -> Iterator[Any]:
    try:
        with file.open() as stream:
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise file.error(f"it cannot be unpacked: {' '.join(str(error).split())[:200]}") from error


def _too_long(line: Line, max_line_bytes: int) -> Fault:
    return Fault(Reason.LINE_TOO_LONG, f"{line.end - line.start} bytes, more than the allowed {max_line_bytes}")


def _json_values(line: Line, max_line_bytes: int) -> dict[str, object] | Fault:
    if line.data is None:
        return _too_long(line, max_line_bytes)
    try:
        values = orjson.loads(line.data)
    except orjson.JSONDecodeError as error:
        return _json_fault(line.data, str(error))
    if not isinstance(values, dict):
        return Fault(Reason.NOT_AN_OBJECT, f"expected a JSON object, got {type(values).__name__}")
    return values


def _json_fault(data: bytes, message: str) -> Fault:
    if problem := utf8_problem(data):
        return Fault(*problem)
    if b"\0" in data:
        return Fault(Reason.NUL_CHARACTER, f"byte {data.index(0) + 1} of {len(data)} is NUL")
    reason = Reason.LONE_SURROGATE if "surrogate" in message else Reason.NOT_JSON
    return Fault(reason, f"it is not JSON: {message}")


def _with_long_integers(line: Line, values: dict[str, object], integers: Iterable[str]) -> dict[str, object]:
    """Give back the digits that orjson, which reads integers of up to 64 bits, has rounded."""
    rounded = [name for name in integers if isinstance(value := values.get(name), float) and abs(value) >= _LONG_INTEGER]
    if not rounded:
        return values
    try:
        exact = json.loads(line.data or b"")
    except (ValueError, RecursionError):  # more digits or depth than Python's reader takes: the rounded one will do
        return values
    return {**values, **{name: exact[name] for name in rounded}}


def _header(file: TableFile, record: Record | None) -> list[str]:
    if record is None or record.fields is None:
        raise file.error("expected a header with the names of the columns, quoted as RFC 4180 says" if record else "it has no header")
    try:
        names = [field.decode() for field in record.fields]
    except UnicodeDecodeError as error:
        raise file.error("the header is not UTF-8") from error
    return [names[0].removeprefix(_BOM.decode()), *names[1:]]


def _csv_values(record: Record, names: list[str], max_line_bytes: int) -> dict[str, object] | Fault:
    if record.line.data is None:
        return _too_long(record.line, max_line_bytes)
    if record.fields is None:
        return Fault(Reason.BAD_QUOTING, "a quote is never closed, or stands where none may")
    if len(record.fields) != len(names):
        return Fault(Reason.RAGGED, f"expected {len(names)} fields, got {len(record.fields)}")
    try:
        texts = [field.decode() for field in record.fields]
    except UnicodeDecodeError:
        return _csv_text_fault(record.fields, names)
    return {name: text or None for name, text in zip(names, texts, strict=True)}


def _csv_text_fault(fields: Iterable[bytes], names: Iterable[str]) -> Fault:
    return next(Fault(*problem, name) for field, name in zip(fields, names, strict=True) if (problem := utf8_problem(field)))
