"""Columns of the input tables: from what a file holds to the one type the platform works with, or an error with its row."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from reelspace.core.schemas import Column, TableSchema

_BOX_FIELDS = ("x0", "y0", "x1", "y1")
_LIMITS: Final = {"int32": 2**31 - 1, "int64": 2**63 - 1}
_ARROW_TYPES: Final[Mapping[str, Any]] = {
    "int64": pa.int64(),
    "int32": pa.int32(),
    "timestamp": pa.timestamp("us", "UTC"),
    "text": pa.large_string(),
    "bool": pa.bool_(),
    "list<text>": pa.list_(pa.large_string()),
    "box": pa.list_(pa.float32(), 4),
}
_EXPECTED: Final[Mapping[str, str]] = {
    "int64": "an integer",
    "int32": "an integer",
    "timestamp": "a time with a time zone (in JSON Lines ISO 8601 text such as 2025-01-31T12:00:00Z)",
    "text": "text",
    "bool": "true or false",
    "list<text>": "a list of texts",
    "box": "four numbers x0, y0, x1, y1",
}


class ColumnProblem(Exception):
    """A column breaks its schema; the reader of its file adds table and file. `row` counts from 1, None means the whole column."""

    def __init__(self, column: str, row: int | None, what: str) -> None:
        super().__init__(what)
        self.column = column
        self.row = row


def arrow_schema(schema: TableSchema) -> pa.Schema:
    """Give the types of a normalised table."""
    return pa.schema([pa.field(column.name, _ARROW_TYPES[column.type]) for column in schema.columns])


def from_json(column: Column, values: Sequence[object]) -> pa.Array:
    """Make a normalised column of JSON values; ColumnProblem names the first wrong one."""
    parse = _JSON_PARSERS[column.type]
    parsed: list[object] = []
    for row, value in enumerate(values, start=1):
        try:
            parsed.append(None if value is None else parse(value))
        except ValueError as error:
            raise ColumnProblem(column.name, row, f"expected {_EXPECTED[column.type]}, got {_short(value)}") from error
    _check_json_integers(column, parsed)
    return _checked(column, pa.array(parsed, type=_ARROW_TYPES[column.type]))


def from_arrow(column: Column, values: pa.ChunkedArray) -> pa.Array:
    """Make a normalised column of a Parquet column; ColumnProblem tells the wrong type or the first wrong row."""
    array = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], type=values.type)
    if pa.types.is_null(array.type):
        return _checked(column, pa.nulls(len(array), _ARROW_TYPES[column.type]))
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        raise ColumnProblem(column.name, None, f"damaged values: {error}") from error
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    converted = _CONVERTERS[column.type](column, array)
    return _checked(column, converted)


def absent(column: Column, num_rows: int) -> pa.Array:
    """Make the column of an optional one that a file lacks."""
    return pa.nulls(num_rows, _ARROW_TYPES[column.type])


def _checked(column: Column, array: pa.Array) -> pa.Array:
    if column.required and array.null_count:
        if not column.blank:
            raise ColumnProblem(column.name, _first(pc.is_null(array)), "the value is missing")
        array = array.fill_null("")
    for wrong, what in _rules(column, array):
        if row := _first(wrong):
            raise ColumnProblem(column.name, row, f"{what}, got {_short(array[row - 1].as_py())}")
    return array


def _rules(column: Column, array: pa.Array) -> list[tuple[Any, str]]:
    """Give what must hold nowhere, with its words."""
    if column.type in _LIMITS:
        return [(pc.less(array, 0), "expected a number that is not negative")]
    if column.type == "text" and column.choices:
        allowed = pc.or_(pc.is_in(array, pa.array(column.choices, pa.large_string())), pc.is_null(array))
        return [(pc.invert(allowed), f"expected one of {', '.join(column.choices)}")]
    if column.type == "text" and column.required and not column.blank:
        return [(pc.equal(array, ""), "expected text that is not empty")]
    if column.type == "list<text>":
        return [(_has_null_item(array), "expected a list of texts without nulls")]
    if column.type == "box":
        return [(_is_no_box(array), "expected finite 0 <= x0 < x1 and 0 <= y0 < y1")]
    return []


def _has_null_item(array: pa.Array) -> pa.Array:
    return pa.array([value is not None and None in value for value in array.to_pylist()], pa.bool_())


def _is_no_box(array: pa.Array) -> pa.Array:
    return pa.array([value is not None and not _is_box(value) for value in array.to_pylist()], pa.bool_())


def _is_box(value: Sequence[float | None]) -> bool:
    if any(number is None or not math.isfinite(number) for number in value):
        return False
    x0, y0, x1, y1 = (number for number in value if number is not None)
    return 0 <= x0 < x1 and 0 <= y0 < y1


def _first(wrong: pa.Array) -> int | None:
    """Give the first row, from 1, where the mask is true."""
    index = pc.index(wrong, pa.scalar(True)).as_py()
    return None if index < 0 else int(index) + 1


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _json_integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError
    return value


def _json_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    value.encode()  # a lone surrogate is no text: UnicodeEncodeError is a ValueError
    return value


def _json_timestamp(value: object) -> datetime:
    time = datetime.fromisoformat(_json_text(value))
    if time.tzinfo is None:
        raise ValueError
    return time.astimezone(UTC)


def _json_bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _json_texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise ValueError
    return [_json_text(item) for item in value]


def _json_box(value: object) -> list[float]:
    numbers = [value.get(name) for name in _BOX_FIELDS] if isinstance(value, dict) and set(value) == set(_BOX_FIELDS) else value
    if not isinstance(numbers, list) or len(numbers) != 4:
        raise ValueError
    if any(not isinstance(number, int | float) or isinstance(number, bool) for number in numbers):
        raise ValueError
    return [float(number) for number in numbers]


def _check_json_integers(column: Column, values: Sequence[Any]) -> None:
    limit = _LIMITS.get(column.type)
    if limit is None:
        return
    for row, value in enumerate(values, start=1):
        if value is not None and not -limit <= value <= limit:
            raise ColumnProblem(column.name, row, f"expected an integer up to {limit}, got {value}")


_JSON_PARSERS: Final[Mapping[str, Callable[[object], object]]] = {
    "int64": _json_integer,
    "int32": _json_integer,
    "timestamp": _json_timestamp,
    "text": _json_text,
    "bool": _json_bool,
    "list<text>": _json_texts,
    "box": _json_box,
}


def _wrong_type(column: Column, array: pa.Array) -> ColumnProblem:
    return ColumnProblem(column.name, None, f"expected {_EXPECTED[column.type]}, the column's type is {array.type}")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _integers(column: Column, array: pa.Array) -> pa.Array:
    if not pa.types.is_integer(array.type):
        raise _wrong_type(column, array)
    limit = _LIMITS[column.type]
    signed = pa.types.is_signed_integer(array.type)
    too_large = pc.greater(array, pa.scalar(limit, pa.int64() if signed else pa.uint64()))
    if row := _first(too_large):
        raise ColumnProblem(column.name, row, f"expected an integer up to {limit}, got {array[row - 1].as_py()}")
    if signed and (row := _first(pc.less(array, 0))):
        raise ColumnProblem(column.name, row, f"expected a number that is not negative, got {array[row - 1].as_py()}")
    return array.cast(_ARROW_TYPES[column.type])


def _timestamps(column: Column, array: pa.Array) -> pa.Array:
    if not pa.types.is_timestamp(array.type) or array.type.tz is None:
        raise _wrong_type(column, array)
    options = pc.CastOptions(_ARROW_TYPES["timestamp"], allow_time_truncate=True)
    try:
        return pc.cast(array, options=options)
    except pa.ArrowInvalid as error:
        raise ColumnProblem(column.name, None, f"a time beyond the years of a timestamp in microseconds: {error}") from error


def _texts(column: Column, array: pa.Array) -> pa.Array:
    if not _is_text(array.type):
        raise _wrong_type(column, array)
    return array.cast(_ARROW_TYPES["text"])


def _bools(column: Column, array: pa.Array) -> pa.Array:
    if not pa.types.is_boolean(array.type):
        raise _wrong_type(column, array)
    return array


def _text_lists(column: Column, array: pa.Array) -> pa.Array:
    if not _is_list(array.type) or not (_is_text(array.type.value_type) or pa.types.is_null(array.type.value_type)):
        raise _wrong_type(column, array)
    return array.cast(_ARROW_TYPES["list<text>"])


def _boxes(column: Column, array: pa.Array) -> pa.Array:
    if not _is_list(array.type) and not pa.types.is_struct(array.type):
        raise _wrong_type(column, array)
    return from_json(column, array.to_pylist())


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


_CONVERTERS: Final[Mapping[str, Callable[[Column, Any], Any]]] = {
    "int64": _integers,
    "int32": _integers,
    "timestamp": _timestamps,
    "text": _texts,
    "bool": _bools,
    "list<text>": _text_lists,
    "box": _boxes,
}
