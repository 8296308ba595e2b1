"""Payloads between JSON and `qdrant.Value`."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from reelspace.search.access.refusal import RequestRefused

MAX_INTEGER: Final = 2**63 - 1
# Clients of most languages read at most 100 messages inside each other; some are around the payload.
MAX_NESTED: Final = 90
_NESTED_IN_LIST: Final = 2
_NESTED_IN_OBJECT: Final = 3


def read_payload(messages: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Give the JSON object that a map of values means; RequestRefused for numbers that JSON cannot say."""
    return {key: _read(message, where) for key, message in messages.items()}


def write_payload(messages: Any, payload: bytes) -> None:
    """Fill a map of values from a JSON object; whole numbers of more than 64 bits with a sign become the nearest double, as in Qdrant.

    Raises:
        RequestRefused: more objects and lists lie inside each other than clients can read as messages.
    """
    for key, value in orjson.loads(payload).items():
        _write(messages[key], value, MAX_NESTED)


def _read(message: Any, where: str) -> Any:
    kind = message.WhichOneof("kind")
    if kind == "struct_value":
        return read_payload(message.struct_value.fields, where)
    if kind == "list_value":
        return [_read(one, where) for one in message.list_value.values]
    if kind is None or kind == "null_value":
        return None
    value = getattr(message, kind)
    if kind == "double_value" and value - value != 0:
        raise RequestRefused(where, f"expected finite numbers, got {value}")
    return value


def _write(message: Any, value: Any, left: int) -> None:
    if left < 0:
        raise RequestRefused("with_payload", "a payload has too many objects inside each other for gRPC: leave it out, or ask over HTTP")
    if isinstance(value, str):
        message.string_value = value
    elif value is None:
        message.null_value = 0
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, int) and -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
        message.integer_value = value
    elif isinstance(value, int | float):
        message.double_value = value
    elif isinstance(value, list):
        message.list_value.SetInParent()
        for one in value:
            _write(message.list_value.values.add(), one, left - _NESTED_IN_LIST)
    else:
        message.struct_value.SetInParent()
        for key, one in value.items():
            _write(message.struct_value.fields[key], one, left - _NESTED_IN_OBJECT)
