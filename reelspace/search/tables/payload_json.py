"""Arrow columns as JSON objects, row by row.

Legend: N rows of one batch.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from reelspace.core.errors import TableError

_MICROSECONDS: Final = pa.timestamp("us", "UTC")
_PLAIN: Final = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_date,
    pa.types.is_null,
)


def json_type(where: str, kind: pa.DataType) -> pa.DataType:
    """Give the type to cast a column to, so that its Python values are values of JSON.

    Times without a zone are taken as UTC; uint64, nested lists and objects stay what they are; a dictionary becomes its values.

    Raises:
        TableError: values of the type have no one form in JSON; names `where`.
    """
    if isinstance(kind, pa.DictionaryType):
        return json_type(where, kind.value_type)
    if pa.types.is_timestamp(kind):
        return _MICROSECONDS
    if pa.types.is_time(kind):
        return pa.time64("us")
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.large_list(json_type(where, kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, json_type(where, field.type)) for field in kind])
    if not any(is_plain(kind) for is_plain in _PLAIN):
        raise TableError(f"{where}: {kind} has no form in JSON: cast it to a number, a text, a time, or a list or struct of these")
    return kind


def json_rows(where: str, columns: Mapping[str, pa.Array], first_row: int) -> list[bytes]:
    """Give each row as a JSON object, times in RFC 3339; a column without a value is left out.

    Args:
        columns: of N values each, of types that `json_type` takes.

    Raises:
        TableError: a value is NaN, infinite or a time beyond the years 1 to 9999; names `where`, row and column.
    """
    names, values = tuple(columns), [_values(where, name, column, first_row) for name, column in columns.items()]
    return [_object(dict(zip(names, row, strict=True))) for row in zip(*values, strict=True)]


def _values(where: str, name: str, column: pa.Array, first_row: int) -> list[object]:
    target = json_type(where, column.type)
    # Times finer than a microsecond are cut, as filters read them.
    options = pc.CastOptions(target_type=target, allow_time_truncate=True)
    try:
        found: list[object] = column.cast(options=options).to_pylist()
    except (pa.ArrowInvalid, ValueError, OverflowError):
        told = f"{where}: row {{}}: column {name!r}"
        found = [_value(told.format(first_row + place), column[place : place + 1], options) for place in range(len(column))]
    odd = next((place for place, value in enumerate(found) if _is_odd(value)), None)
    if odd is not None:
        raise TableError(f"{where}: row {first_row + odd}: column {name!r}: NaN and infinity have no form in JSON; write null")
    return found


def _value(where: str, one: pa.Array, options: pc.CastOptions) -> object:
    try:
        return one.cast(options=options)[0].as_py()
    except (pa.ArrowInvalid, ValueError, OverflowError) as error:
        raise TableError(f"{where}: expected a time of the years 1 to 9999: {error}") from error


def _is_odd(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_is_odd, value.values()))
    return isinstance(value, list) and any(map(_is_odd, value))


def _object(row: Mapping[str, Any]) -> bytes:
    return orjson.dumps({key: value for key, value in row.items() if value is not None}, option=orjson.OPT_UTC_Z)
