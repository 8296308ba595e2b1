"""A client's filter as it comes over gRPC, put into the JSON form, so that both are checked by one parser."""

from collections.abc import Callable
from datetime import UTC
from typing import Any, Final

from reelspace.search.access.filter_request import BOUNDS, parse_filter
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.compute.filters import Filter

MATCHES: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "keyword": ("value", str),
    "integer": ("value", int),
    "boolean": ("value", bool),
    "keywords": ("any", lambda value: list(value.strings)),
    "integers": ("any", lambda value: list(value.integers)),
    "except_keywords": ("except", lambda value: list(value.strings)),
    "except_integers": ("except", lambda value: list(value.integers)),
}
FIRST_TIME: Final = "0001-01-01T00:00:00Z"
GEO: Final = ("geo_bounding_box", "geo_radius", "geo_polygon")


def parse_filter_message(message: Any, where: str = "filter") -> Filter:
    """Check a `qdrant.Filter` message; messages name the fields as in JSON.

    Raises:
        RequestRefused: as parse_filter; also for a condition, match or id whose kind is not set, and times out of range.
    """
    return parse_filter(filter_object(message, where), where)


def filter_object(message: Any, where: str) -> dict[str, Any]:
    """Give the JSON form of a `qdrant.Filter`, for `parse_filter`; RequestRefused for what JSON cannot say."""
    clauses: dict[str, Any] = {name: _conditions(getattr(message, name), f"{where}.{name}") for name in ("must", "should", "must_not")}
    if message.HasField("min_should"):
        least = message.min_should
        conditions = _conditions(least.conditions, f"{where}.min_should.conditions")
        clauses["min_should"] = {"conditions": conditions, "min_count": least.min_count}
    return clauses


def _conditions(messages: Any, where: str) -> list[dict[str, Any]]:
    return [_condition(message, f"{where}[{number}]") for number, message in enumerate(messages)]


def _condition(message: Any, where: str) -> dict[str, Any]:
    name = _set_field(message, "condition_one_of", where)
    value = getattr(message, name)
    if name == "filter":
        return filter_object(value, where)
    if name == "field":
        return _field(value, where)
    if name == "has_id":
        return {"has_id": [_point_id(one, f"{where}.has_id[{number}]") for number, one in enumerate(value.has_id)]}
    if name in ("is_empty", "is_null"):
        return {name: {"key": value.key}}
    return {name: {}}


def _field(message: Any, where: str) -> dict[str, Any]:
    found: dict[str, Any] = {"key": message.key}
    if message.HasField("match"):
        name = _set_field(message.match, "match_value", f"{where}.match")
        rest_name, read = MATCHES.get(name, (name, str))
        found["match"] = {rest_name: read(getattr(message.match, name))}
    if message.HasField("range"):
        found["range"] = _bounds(message.range, float)
    if message.HasField("datetime_range"):
        if "range" in found:
            raise RequestRefused(f"{where}.datetime_range", "expected one of range and datetime_range, got both")
        bounds = _bounds(message.datetime_range, lambda time: _time(time, f"{where}.datetime_range"))
        # JSON cannot say "any time": a range without bounds is one of numbers there.
        found["range"] = bounds or {"gte": FIRST_TIME}
    if message.HasField("values_count"):
        found["values_count"] = _bounds(message.values_count, int)
    found |= {name: getattr(message, name) for name in ("is_empty", "is_null") if message.HasField(name)}
    return found | {name: {} for name in GEO if message.HasField(name)}


def _bounds(message: Any, read: Callable[[Any], Any]) -> dict[str, Any]:
    return {name: read(getattr(message, name)) for name in BOUNDS if message.HasField(name)}


def _time(message: Any, where: str) -> str:
    try:
        text: str = message.ToDatetime(tzinfo=UTC).isoformat()
    except (ValueError, OverflowError) as error:
        raise RequestRefused(where, f"expected a time from the year 1 to 9999: {error}") from error
    return text


def _point_id(message: Any, where: str) -> int | str:
    name = _set_field(message, "point_id_options", where)
    value: int | str = getattr(message, name)
    return value


def _set_field(message: Any, choice: str, where: str) -> str:
    name: str | None = message.WhichOneof(choice)
    if name is None:
        raise RequestRefused(where, "expected one kind to be set, got none")
    return name
