"""Writes as they come over gRPC, in the JSON form that `write_request` checks; vectors stay arrays of float32.

Legend: D dimension.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from reelspace.search.access.filter_message import filter_object
from reelspace.search.access.messages.payload_message import read_payload
from reelspace.search.access.messages.set_fields import (
    Read,
    as_is,
    chosen,
    dense_vector,
    items,
    only_weak,
    point_id,
    point_ids,
    read_nothing,
    set_fields,
)
from reelspace.search.access.refusal import not_served
from reelspace.search.access.requests import Delete, PayloadEdit, Upsert, Write
from reelspace.search.access.write_request import (
    parse_clear_payload,
    parse_delete,
    parse_delete_payload,
    parse_operations,
    parse_overwrite_payload,
    parse_set_payload,
    parse_upsert,
)
from reelspace.search.storage.rows import Fields

_UNSERVED_VECTORS: Final = {"sparse": "sparse vectors", "multi_dense": "several vectors in one"}
_OPERATIONS: Final = {
    "upsert": "upsert",
    "delete_points": "delete",
    "delete_deprecated": "delete",
    "set_payload": "set_payload",
    "overwrite_payload": "overwrite_payload",
    "delete_payload": "delete_payload",
    "clear_payload": "clear_payload",
    "clear_payload_deprecated": "clear_payload",
}


def upsert_of(message: Any, fields: Fields) -> Upsert:
    """Check an `UpsertPoints` message; RequestRefused as `parse_upsert`."""
    return parse_upsert({"points": []} | set_fields(message, _WRITE | _UPSERT), fields)


def delete_of(message: Any, fields: Fields) -> Delete:
    """Check a `DeletePoints` message; RequestRefused as `parse_delete`."""
    return parse_delete(_selected(message, _WRITE | _SELECTOR))


def set_payload_of(message: Any, fields: Fields) -> PayloadEdit:
    """Check a `SetPayloadPoints` message that sets values; RequestRefused as `parse_set_payload`."""
    return parse_set_payload(_NO_PAYLOAD | _selected(message, _WRITE | _PAYLOAD))


def overwrite_payload_of(message: Any, fields: Fields) -> PayloadEdit:
    """Check a `SetPayloadPoints` message that replaces payloads; RequestRefused as `parse_overwrite_payload`."""
    return parse_overwrite_payload(_NO_PAYLOAD | _selected(message, _WRITE | _PAYLOAD))


def delete_payload_of(message: Any, fields: Fields) -> PayloadEdit:
    """Check a `DeletePayloadPoints` message; RequestRefused as `parse_delete_payload`."""
    return parse_delete_payload(_selected(message, _WRITE | _KEYS))


def clear_payload_of(message: Any, fields: Fields) -> PayloadEdit:
    """Check a `ClearPayloadPoints` message; RequestRefused as `parse_clear_payload`."""
    return parse_clear_payload(_selected(message, _WRITE | _SELECTOR))


def operations_of(message: Any, fields: Fields) -> tuple[Write, ...]:
    """Check an `UpdateBatchPoints` message; RequestRefused as `parse_operations`."""
    return parse_operations({"operations": []} | set_fields(message, _WRITE | {"operations": _operations}), fields)


def _operations(messages: Any, where: str) -> list[dict[str, Any]]:
    return [_operation(one, f"{where}[{number}]") for number, one in enumerate(messages)]


def _operation(message: Any, where: str) -> dict[str, Any]:
    field = chosen(message, "operation", where)
    name = _OPERATIONS.get(field)
    if name is None:
        raise not_served(f"{where}.{field}")
    value, place = getattr(message, field), f"{where}.{name}."
    if name == "upsert":
        return {name: {"points": []} | set_fields(value, _UPSERT, place)}
    if field.endswith("_deprecated"):
        return {name: _selector(value, f"{where}.{name}")}
    readers = {"set_payload": _PAYLOAD, "overwrite_payload": _PAYLOAD, "delete_payload": _KEYS}.get(name, _SELECTOR)
    given = _selected(value, readers, place)
    return {name: _NO_PAYLOAD | given if readers is _PAYLOAD else given}


def _selected(message: Any, readers: dict[str, Read], place: str = "") -> dict[str, Any]:
    """Give the set fields with those of the selector among them, as JSON has it."""
    given = set_fields(message, readers, place)
    for name in ("points", "points_selector"):
        given |= given.pop(name, {})
    return given


def _selector(message: Any, where: str) -> dict[str, Any]:
    name = message.WhichOneof("points_selector_one_of")
    if name is None:
        return {}
    if name == "points":
        return {"points": point_ids(message.points.ids, f"{where}.ids")}
    return {"filter": filter_object(message.filter, "filter")}


def _points(messages: Any, where: str) -> list[dict[str, Any]]:
    return [_point(one, f"{where}[{number}].") for number, one in enumerate(messages)]


def _point(message: Any, place: str) -> dict[str, Any]:
    given = set_fields(message, _POINT, place)
    if "vectors" in given:
        given["vector"] = given.pop("vectors")
    return given


def _vectors(message: Any, where: str) -> Any:
    if chosen(message, "vectors_options", where) == "vector":
        return _vector(message.vector, where)
    return {name: _vector(one, f"{where}.{name[:60]}") for name, one in message.vectors.vectors.items()}


def _vector(message: Any, where: str) -> NDArray[np.float32]:
    name = message.WhichOneof("vector")
    if name == "dense":
        return dense_vector(message.dense, where)
    if name is not None:
        raise not_served(where, _UNSERVED_VECTORS.get(name, "embedding on writes"))
    # How older clients write a vector.
    for field, feature in (("indices", "sparse vectors"), ("vectors_count", "several vectors in one")):
        if message.HasField(field):
            raise not_served(where, feature)
    return dense_vector(message, where)


_NO_PAYLOAD: Final[dict[str, Any]] = {"payload": {}}
_POINT: Final[dict[str, Read]] = {"id": point_id, "payload": read_payload, "vectors": _vectors}
_WRITE: Final[dict[str, Read]] = {"collection_name": read_nothing, "wait": read_nothing, "timeout": read_nothing, "ordering": only_weak}
_UPSERT: Final[dict[str, Read]] = {"points": _points}
_SELECTOR: Final[dict[str, Read]] = {"points": _selector, "points_selector": _selector}
_PAYLOAD: Final[dict[str, Read]] = _SELECTOR | {"payload": read_payload, "key": as_is}
_KEYS: Final[dict[str, Read]] = _SELECTOR | {"keys": items}
