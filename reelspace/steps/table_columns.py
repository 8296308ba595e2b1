"""Columns of the input tables: from what a file holds to the one type the platform works with, and the faults of single rows.

A whole column of a wrong type is a WrongColumn and stops the import; a value that is wrong is a Fault of its row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reelspace.core.schemas import Column, TableSchema
from reelspace.steps.bad_rows import Fault, Reason
from reelspace.steps.table_rules import RowRules, broken_rules
from reelspace.steps.table_values import LIMITS, WrongValue, parse, short, utf8_problem

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
    "timestamp": "a time with a time zone (in JSON Lines and CSV ISO 8601 text such as 2025-01-31T12:00:00Z)",
    "text": "text",
    "bool": "true or false",
    "list<text>": "a list of texts",
    "box": "four numbers x0, y0, x1, y1",
}
_US_PER_UNIT: Final = {"s": 1_000_000, "ms": 1000}


class WrongColumn(Exception):
    """A whole column breaks its schema; the reader of its file adds table and file."""

    def __init__(self, column: str, what: str) -> None:
        super().__init__(what)
        self.column = column


@dataclass(slots=True)
class Checked:
    """A normalised column; a row with a fault (by its index) is null in it."""

    array: Any
    faults: dict[int, Fault] = field(default_factory=dict)


def arrow_schema(schema: TableSchema) -> pa.Schema:
    """Give the types of a normalised table."""
    return pa.schema([pa.field(column.name, _ARROW_TYPES[column.type]) for column in schema.columns])


def check_type(column: Column, kind: pa.DataType) -> None:
    """Refuse a Parquet column of a type that cannot hold what the column is.

    Raises:
        WrongColumn: the message gives both.
    """
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not pa.types.is_null(inner) and not _ACCEPTS[column.type](inner):
        raise WrongColumn(column.name, f"expected {_EXPECTED[column.type]}, the column's type is {kind}")


def from_values(column: Column, values: Sequence[object], rules: RowRules, *, is_csv: bool) -> Checked:
    """Make a normalised column of the values of JSON objects, or of the fields of CSV."""
    checked = Checked(None)
    parsed: list[object] = []
    for index, value in enumerate(values):
        try:
            parsed.append(None if value is None else parse(column.type, value, is_csv=is_csv))
        except WrongValue as error:
            parsed.append(None)
            words = error.detail or f"expected {_EXPECTED[column.type]}, got {short(value)}"
            checked.faults[index] = Fault(error.reason, words, column.name)
    checked.array = pa.array(parsed, type=_ARROW_TYPES[column.type])
    return _ruled(column, checked, rules)


def from_arrow(column: Column, array: pa.Array, rules: RowRules) -> Checked:
    """Make a normalised column of a piece of a Parquet column whose type `check_type` has accepted.

    Raises:
        WrongColumn: the values are damaged beyond single rows.
    """
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type):
        return _ruled(column, Checked(pa.nulls(len(array), _ARROW_TYPES[column.type])), rules)
    try:
        checked = _CONVERTERS[column.type](column, array)
    except pa.ArrowException as error:
        raise WrongColumn(column.name, f"damaged values: {' '.join(str(error).split())[:200]}") from error
    return _ruled(column, checked, rules)


def absent(column: Column, num_rows: int) -> Checked:
    """Make the column of an optional one that a file lacks."""
    return Checked(pa.nulls(num_rows, _ARROW_TYPES[column.type]))


def _ruled(column: Column, checked: Checked, rules: RowRules) -> Checked:
    if column.required and checked.array.null_count:
        if column.blank:
            checked.array = checked.array.fill_null("")
        else:
            _blame(column, checked, pc.is_null(checked.array), Reason.MISSING_VALUE, lambda _: "the value is missing")
    for broken in broken_rules(column, checked.array, rules):
        _blame(column, checked, broken.where, broken.reason, broken.words)
    return checked


def _blame(column: Column, checked: Checked, where: pa.Array, reason: Reason, words: Callable[[Any], str]) -> None:
    """Note a fault at every place of the mask that has none yet."""
    for index in _indices(where):
        if index not in checked.faults:
            checked.faults[index] = Fault(reason, words(checked.array[index]), column.name)


def _indices(mask: pa.Array) -> list[int]:
    """Give the places where the mask is true; null is false."""
    if not pc.any(mask).as_py():
        return []
    return [int(index) for index in np.flatnonzero(mask.fill_null(False).to_numpy(zero_copy_only=False))]


def _without(array: pa.Array, wrong: pa.Array) -> pa.Array:
    return pc.if_else(wrong.fill_null(False), pa.scalar(None, array.type), array) if pc.any(wrong).as_py() else array


def _integers(column: Column, array: pa.Array) -> Checked:
    limit = LIMITS[column.type]
    signed = pa.types.is_signed_integer(array.type)
    wide = array.cast(pa.int64() if signed else pa.uint64())
    too_large = pc.greater(wide, pa.scalar(limit, wide.type))
    checked = Checked(wide)
    _blame(column, checked, too_large, Reason.OUT_OF_RANGE, lambda value: f"expected an integer up to {limit}, got {value.as_py()}")
    if signed:
        negative = pc.less(wide, 0)
        _blame(column, checked, negative, Reason.NEGATIVE, lambda value: f"expected a number that is not negative, got {value.as_py()}")
        too_large = pc.or_(too_large, negative)
    checked.array = _without(wide, too_large).cast(_ARROW_TYPES[column.type])
    return checked


def _timestamps(column: Column, array: pa.Array) -> Checked:
    if array.type.unit in ("us", "ns"):
        return Checked(pc.cast(array, options=pc.CastOptions(_ARROW_TYPES["timestamp"], allow_time_truncate=True)))
    units = array.view(pa.int64())
    limit = (2**63 - 1) // _US_PER_UNIT[array.type.unit]
    beyond = pc.or_(pc.greater(units, limit), pc.less(units, -limit))
    checked = Checked(units)
    words = f"expected a time that microseconds can hold, got {array.type.unit}"
    _blame(column, checked, beyond, Reason.OUT_OF_RANGE, lambda value: f"{words} {value.as_py()}")
    checked.array = pc.cast(_without(array, beyond), _ARROW_TYPES["timestamp"])
    return checked


def _texts(column: Column, array: pa.Array) -> Checked:
    # What is declared as text need not be UTF-8: whoever wrote the file may not have looked.
    if _is_valid(array):
        return Checked(array.cast(_ARROW_TYPES["text"]))
    values = array.cast(pa.large_binary()).to_pylist()
    faults: dict[int, Fault] = {}
    for index, value in enumerate(values):
        if value is not None and (problem := utf8_problem(value)):
            faults[index] = Fault(*problem, column.name)
            values[index] = None
    return Checked(pa.array(values, pa.large_binary()).cast(_ARROW_TYPES["text"]), faults)


def _text_lists(column: Column, array: pa.Array) -> Checked:
    if _is_valid(array):
        return Checked(array.cast(_ARROW_TYPES["list<text>"]))
    lists = array.cast(pa.list_(pa.large_binary())).to_pylist()
    faults: dict[int, Fault] = {}
    for index, items in enumerate(lists):
        problems = (utf8_problem(item) for item in items or () if item is not None)
        if problem := next(filter(None, problems), None):
            faults[index] = Fault(*problem, column.name)
            lists[index] = None
    return Checked(pa.array(lists, pa.list_(pa.large_binary())).cast(_ARROW_TYPES["list<text>"]), faults)


def _boxes(column: Column, array: pa.Array) -> Checked:
    checked = Checked(None)
    parsed: list[object] = []
    for index, value in enumerate(array.to_pylist()):
        try:
            parsed.append(None if value is None else parse("box", value, is_csv=False))
        except WrongValue:
            parsed.append(None)
            checked.faults[index] = Fault(Reason.WRONG_TYPE, f"expected {_EXPECTED['box']}, got {short(value)}", column.name)
    checked.array = pa.array(parsed, _ARROW_TYPES["box"])
    return checked


def _bools(_column: Column, array: pa.Array) -> Checked:
    return Checked(array)


def _is_valid(array: pa.Array) -> bool:
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        array.validate()  # offsets that lead nowhere are no fault of a row: the file is damaged
        return False
    return True


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_text_list(kind: pa.DataType) -> bool:
    return _is_list(kind) and (_is_text(kind.value_type) or bool(pa.types.is_null(kind.value_type)))


def _is_box(kind: pa.DataType) -> bool:
    return _is_list(kind) or bool(pa.types.is_struct(kind))


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind)) and kind.tz is not None


_ACCEPTS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "int64": pa.types.is_integer,
    "int32": pa.types.is_integer,
    "timestamp": _is_time,
    "text": _is_text,
    "bool": pa.types.is_boolean,
    "list<text>": _is_text_list,
    "box": _is_box,
}
_CONVERTERS: Final[Mapping[str, Callable[[Column, Any], Checked]]] = {
    "int64": _integers,
    "int32": _integers,
    "timestamp": _timestamps,
    "text": _texts,
    "bool": _bools,
    "list<text>": _text_lists,
    "box": _boxes,
}
