"""Ids as Arrow columns: integers, UUIDs as 16 bytes, or both as text."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import pyarrow as pa

from reelspace.core.errors import TableError, UserError
from reelspace.search.storage.ids import MAX_ID, Id

IdType: TypeAlias = Literal["text", "integer", "uuid"]
ARROW_TYPES: Final = {"text": pa.string(), "integer": pa.uint64(), "uuid": pa.binary(16)}
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_INTEGER: Final = re.compile(r"0|[1-9][0-9]{0,19}")


def check_id_type(where: str, kind: pa.DataType) -> None:
    """Refuse a column that no ids are read from; TableError names `where`."""
    if _parser(kind) is None:
        raise TableError(f"{where}: expected ids as integers, as text, or as 16 bytes, got {kind}")


def ids_of(path: str, column: str, array: pa.Array, first_row: int) -> list[Id]:
    """Read ids; text is an integer in decimal digits or a UUID with hyphens.

    Raises:
        TableError: one is null, negative, above 2^64 - 1, or none of these; names `path`, row, counted from `first_row`, and column.
    """
    parse = _parser(array.type)
    assert parse is not None
    values = array.storage.to_pylist() if isinstance(array.type, pa.BaseExtensionType) else array.to_pylist()
    ids = [parse(value) for value in values]
    if None in ids:
        place = ids.index(None)
        told = "null" if values[place] is None else repr(values[place])[:60]
        raise TableError(
            f"{path}: row {first_row + place}: column {column!r}: expected an integer of 0 to 2^64 - 1 or a UUID as id, got {told}"
        )
    return [id for id in ids if id is not None]


def id_array(path: str, ids: Iterable[Id], id_type: IdType) -> pa.Array:
    """Make a column of ids.

    Raises:
        UserError: an id is not of the type.
    """
    listed: Sequence[Id] = list(ids)
    if id_type == "text":
        return pa.array([str(id) for id in listed], ARROW_TYPES["text"])
    wanted = int if id_type == "integer" else UUID
    other = next((id for id in listed if not isinstance(id, wanted)), None)
    if other is not None:
        raise UserError(f"{path}: expected every id to be of the type {id_type}, got {other}; write ids as text")
    return pa.array([id.bytes if isinstance(id, UUID) else id for id in listed], ARROW_TYPES[id_type])


def _parser(kind: pa.DataType) -> Callable[[Any], Id | None] | None:
    if isinstance(kind, pa.DictionaryType):
        return _parser(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _parser(kind.storage_type)
    if pa.types.is_integer(kind):
        return _of_integer
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _of_text
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _of_bytes
    return None


def _of_integer(value: int | None) -> Id | None:
    return value if value is not None and 0 <= value <= MAX_ID else None


def _of_text(text: str | None) -> Id | None:
    if text is None:
        return None
    if _UUID.fullmatch(text):
        return UUID(text)
    return _of_integer(int(text)) if _INTEGER.fullmatch(text) else None


def _of_bytes(data: bytes | None) -> Id | None:
    return UUID(bytes=data) if data is not None and len(data) == 16 else None
