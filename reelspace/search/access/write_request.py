"""A client's changes in the Qdrant dialect, checked whole before any of them is applied."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from reelspace.search.access.filter_request import CLAUSES, parse_filter, parse_point_id
from reelspace.search.access.json_fields import list_of, object_of, payload_key, refuse_unknown, required
from reelspace.search.access.point_request import parse_ids
from reelspace.search.access.refusal import RequestRefused, not_served
from reelspace.search.access.requests import Delete, PayloadEdit, PointsSelector, Upsert, Write
from reelspace.search.access.vector_request import parse_vector, refuse_unserved, vector_field
from reelspace.search.compute.filters import encode_filter
from reelspace.search.storage.ids import Id
from reelspace.search.storage.rows import Change, Fields, Op

MAX_POINTS: Final = 10_000
MAX_OPERATIONS: Final = 1_000
MAX_KEYS: Final = 256
MAX_PAYLOAD_DEPTH: Final = 64
_UNSERVED: Final = frozenset({"shard_key", "update_filter", "update_mode"})
_FLAT: Final = frozenset({str, int, float, bool, type(None)})
_CLAUSES: Final = (*CLAUSES, "conditions", "min_count")
_OPERATIONS: Final = ("upsert", "delete", "set_payload", "overwrite_payload", "delete_payload", "clear_payload")
_UNSERVED_OPERATIONS: Final = frozenset({"update_vectors", "delete_vectors"})


def parse_upsert(value: Any, fields: Fields, place: str = "") -> Upsert:
    """Check points in the form of a list or of columns; of points with one id the last counts.

    Raises:
        RequestRefused: 400 naming the point and field, or 501 naming a feature of Qdrant's that is not served.
    """
    given = object_of(value, place.rstrip(".") or "body")
    refuse_unknown(given, ("points", "batch"), place, _UNSERVED)
    if len(given) != 1:
        raise RequestRefused(f"{place}points", "expected either points or batch")
    changes = _points(given["points"], fields, f"{place}points") if "points" in given else _columns(given["batch"], fields, f"{place}batch")
    return Upsert(tuple({change.id: change for change in changes}.values()))


def parse_delete(value: Any, place: str = "") -> Delete:
    """Check a deletion; a filter without any condition would take every point and is refused."""
    given = object_of(value, place.rstrip(".") or "body")
    selector = _selector(given, place, ())
    if selector.ids is None and not _names_condition(given["filter"]):
        raise RequestRefused(f"{place}filter", "an empty filter means every point: name a condition, or delete the collection")
    return Delete(selector)


def parse_set_payload(value: Any, place: str = "") -> PayloadEdit:
    """Check values to set in payloads, at a key of theirs if one is given."""
    given = object_of(value, place.rstrip(".") or "body")
    selector = _selector(given, place, ("payload", "key"))
    payload = _payload(required(given, "payload", place, "an object"), f"{place}payload")
    if "key" not in given:
        return PayloadEdit(Op.MERGE_PAYLOAD, payload, selector)
    payload_key(given["key"], f"{place}key")
    return PayloadEdit(Op.MERGE_PAYLOAD_AT, {"key": given["key"], "payload": payload}, selector)


def parse_overwrite_payload(value: Any, place: str = "") -> PayloadEdit:
    """Check payloads that replace others."""
    given = object_of(value, place.rstrip(".") or "body")
    if "key" in given:
        raise not_served(f"{place}key", "overwriting at a key")
    selector = _selector(given, place, ("payload",))
    return PayloadEdit(Op.REPLACE_PAYLOAD, _payload(required(given, "payload", place, "an object"), f"{place}payload"), selector)


def parse_delete_payload(value: Any, place: str = "") -> PayloadEdit:
    """Check keys to remove from payloads."""
    given = object_of(value, place.rstrip(".") or "body")
    selector = _selector(given, place, ("keys",))
    keys = list_of(required(given, "keys", place, "a list of keys"), f"{place}keys", "keys", MAX_KEYS)
    for number, key in enumerate(keys):
        payload_key(key, f"{place}keys[{number}]")
    return PayloadEdit(Op.DROP_PAYLOAD, tuple(keys), selector)


def parse_clear_payload(value: Any, place: str = "") -> PayloadEdit:
    """Check whose payloads are removed."""
    return PayloadEdit(Op.REPLACE_PAYLOAD, {}, _selector(object_of(value, place.rstrip(".") or "body"), place, ()))


def parse_operations(value: Any, fields: Fields) -> tuple[Write, ...]:
    """Check several writes that are applied one after the other."""
    given = object_of(value, "body")
    refuse_unknown(given, ("operations",), "")
    operations = list_of(required(given, "operations", "", "a list of operations"), "operations", "operations", MAX_OPERATIONS)
    return tuple(_operation(one, fields, f"operations[{number}].") for number, one in enumerate(operations))


def fits_depth(value: Any, most: int = MAX_PAYLOAD_DEPTH) -> bool:
    """Tell whether a JSON value has at most this many objects and lists inside each other."""
    if type(value) is dict and _FLAT.issuperset(map(type, value.values())):
        return most > 0
    level = [value]
    for _ in range(most):
        items = (item for one in level for item in (one.values() if isinstance(one, dict) else one))
        level = [item for item in items if isinstance(item, dict | list)]
        if not level:
            return True
    return False


def _operation(value: Any, fields: Fields, place: str) -> Write:
    given = object_of(value, place.rstrip("."))
    refuse_unknown(given, _OPERATIONS, place, _UNSERVED_OPERATIONS)
    if len(given) != 1:
        raise RequestRefused(place.rstrip("."), f"expected one of {', '.join(_OPERATIONS)}")
    name, operation = next(iter(given.items()))
    inside = f"{place}{name}."
    if name == "upsert":
        return parse_upsert(operation, fields, inside)
    parsers: dict[str, Callable[[Any, str], Write]] = {
        "delete": parse_delete,
        "set_payload": parse_set_payload,
        "overwrite_payload": parse_overwrite_payload,
        "delete_payload": parse_delete_payload,
        "clear_payload": parse_clear_payload,
    }
    return parsers[name](operation, inside)


def _points(value: Any, fields: Fields, where: str) -> list[Change]:
    points = list_of(value, where, "points", MAX_POINTS)
    return [_point(point, fields, f"{where}[{number}].") for number, point in enumerate(points)]


def _point(value: Any, fields: Fields, place: str) -> Change:
    given = object_of(value, place.rstrip("."))
    refuse_unknown(given, ("id", "vector", "payload"), place)
    id = parse_point_id(required(given, "id", place, "a point id"), f"{place}id")
    vector = required(given, "vector", place, "a vector, or vectors by name")
    return _change(id, vector, given.get("payload"), fields, (f"{place}vector", f"{place}payload"))


def _columns(value: Any, fields: Fields, where: str) -> list[Change]:
    given = object_of(value, where)
    refuse_unknown(given, ("ids", "vectors", "payloads"), f"{where}.")
    ids = parse_ids(given, "ids", f"{where}.")
    vectors = required(given, "vectors", f"{where}.", "vectors, or lists of them by name")
    named = vectors if isinstance(vectors, dict) else {"": vectors}
    for name, column in named.items():
        _check_length(column, len(ids), f"{where}.vectors" + (f".{name[:60]}" if isinstance(vectors, dict) else ""))
    payloads = given.get("payloads", [None] * len(ids))
    _check_length(payloads, len(ids), f"{where}.payloads")
    changes = []
    for number, id in enumerate(ids):
        row = {name: column[number] for name, column in named.items()}
        vector = row if isinstance(vectors, dict) else row[""]
        changes.append(_change(id, vector, payloads[number], fields, (f"{where}.vectors[{number}]", f"{where}.payloads[{number}]")))
    return changes


def _check_length(column: Any, length: int, where: str) -> None:
    if not isinstance(column, list) or len(column) != length:
        raise RequestRefused(where, f"expected a list as long as ids, {length}")


def _change(id: Id, vector: Any, payload: Any, fields: Fields, places: tuple[str, str]) -> Change:
    return Change(Op.UPSERT, id, _vectors(vector, fields, places[0]), None if payload is None else _payload(payload, places[1]))


def _vectors(value: Any, fields: Fields, where: str) -> dict[str, NDArray[np.float32]]:
    if not isinstance(value, dict):
        return {"": parse_vector(value, vector_field("", fields, where), where)}
    if not set(value) & set(fields):
        refuse_unserved(value, where)
    given = object_of(value, where)
    if not given:
        raise RequestRefused(where, "expected at least one vector")
    return {name: parse_vector(one, vector_field(name, fields, where), f"{where}.{name[:60]}") for name, one in given.items()}


def _payload(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        object_of(value, where)
    if not fits_depth(value):
        raise RequestRefused(where, f"expected at most {MAX_PAYLOAD_DEPTH} objects and lists inside each other")
    return dict(value)


def _names_condition(value: Any) -> bool:
    """Tell whether a checked filter has a condition anywhere, or only filters inside each other."""
    if isinstance(value, list):
        return any(map(_names_condition, value))
    if not isinstance(value, dict):
        return False
    given = object_of(value, "filter")
    return any(key not in _CLAUSES or _names_condition(one) for key, one in given.items())


def _selector(given: Mapping[str, Any], place: str, others: tuple[str, ...]) -> PointsSelector:
    refuse_unknown(given, ("points", "filter", *others), place, _UNSERVED)
    if ("points" in given) == ("filter" in given):
        raise RequestRefused(f"{place}points", "expected either points or filter")
    if "points" in given:
        return PointsSelector(ids=tuple(dict.fromkeys(parse_ids(given, "points", place))))
    return PointsSelector(where=encode_filter(parse_filter(given["filter"], f"{place}filter")))
