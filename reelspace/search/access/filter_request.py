"""A client's filter in the Qdrant dialect, checked strictly: what is not understood is refused by name, never skipped."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from uuid import UUID

from reelspace.search.access.json_fields import object_of, refuse_unknown
from reelspace.search.access.refusal import RequestRefused, kind_of, not_served
from reelspace.search.compute.filters import (
    Condition,
    Except,
    Filter,
    HasId,
    IsEmpty,
    IsNull,
    Match,
    MinShould,
    NumberRange,
    PointId,
    Scalar,
    TimeRange,
    ValuesCount,
)
from reelspace.search.compute.payload_times import parse_time
from reelspace.search.storage.payload_path import KeyRefused, parse_key

MAX_DEPTH: Final = 16
MAX_CONDITIONS: Final = 512
MAX_VALUES: Final = 65_536
MAX_TEXT_BYTES: Final = 65_536
MAX_POINT_ID: Final = 2**64 - 1
MAX_INTEGER: Final = 2**63 - 1
CLAUSES: Final = ("must", "should", "must_not", "min_should")
BOUNDS: Final = ("gt", "gte", "lt", "lte")
TESTS: Final = ("match", "range", "values_count", "is_empty", "is_null")
MATCHES: Final = ("value", "any", "except")
UNSERVED_TESTS: Final = frozenset({"geo_bounding_box", "geo_radius", "geo_polygon"})
UNSERVED_CONDITIONS: Final = frozenset({"nested", "has_vector", "slice"})
UNSERVED_MATCHES: Final = frozenset({"text", "text_any", "phrase", "prefix", "substring"})
_HYPHENATED: Final = "[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
UUID_FORMS: Final = rf"[0-9a-fA-F]{{32}}|{_HYPHENATED}|\{{{_HYPHENATED}\}}|urn:uuid:{_HYPHENATED}"
_UUID: Final = re.compile(UUID_FORMS)
N = TypeVar("N", int, float)


def parse_filter(value: Any, where: str = "filter") -> Filter:
    """Check a filter as it comes in JSON.

    Keys that are null count as left out. A filter has at most MAX_DEPTH filters inside each other, MAX_CONDITIONS conditions,
    and MAX_VALUES values to match and ids together.

    Args:
        where: how messages call the filter, as `searches[3].filter`.

    Raises:
        RequestRefused: 400 naming the field, or 501 naming a condition of Qdrant's that is not served.
    """
    return _Parser().filter(value, where, 1)


def parse_point_id(value: Any, where: str) -> PointId:
    """Check a point's id: a whole number of 64 bits without a sign, or a UUID in one of the dialect's four forms."""
    if isinstance(value, str):
        if not _UUID.fullmatch(value):
            raise RequestRefused(where, f"expected a whole number or a UUID, got {value!r:.80}")
        return UUID(value)
    if type(value) is not int or not 0 <= value <= MAX_POINT_ID:
        raise RequestRefused(where, f"expected a point id from 0 to {MAX_POINT_ID} or a UUID, got {value!r:.40}")
    return value


class _Parser:
    """Counts what one filter has used of its limits."""

    def __init__(self) -> None:
        self._num_conditions = 0
        self._num_values = 0

    def filter(self, value: Any, where: str, depth: int) -> Filter:
        given = object_of(value, where)
        refuse_unknown(given, CLAUSES, f"{where}.")
        if depth > MAX_DEPTH:
            raise RequestRefused(where, f"expected at most {MAX_DEPTH} filters inside each other")
        return Filter(
            must=self._conditions(given.get("must", []), f"{where}.must", depth),
            should=self._conditions(given.get("should", []), f"{where}.should", depth),
            must_not=self._conditions(given.get("must_not", []), f"{where}.must_not", depth),
            min_should=self._min_should(given["min_should"], f"{where}.min_should", depth) if "min_should" in given else None,
        )

    def _min_should(self, value: Any, where: str, depth: int) -> MinShould:
        given = object_of(value, where)
        refuse_unknown(given, ("conditions", "min_count"), f"{where}.")
        if not isinstance(given.get("conditions"), list):
            raise RequestRefused(f"{where}.conditions", f"expected a list of conditions, got {kind_of(given.get('conditions'))}")
        conditions = self._conditions(given["conditions"], f"{where}.conditions", depth)
        return MinShould(conditions, _whole(given.get("min_count"), f"{where}.min_count", 1))

    def _conditions(self, value: Any, where: str, depth: int) -> tuple[Condition, ...]:
        if not isinstance(value, list):
            return (self._condition(value, where, depth),)
        return tuple(self._condition(one, f"{where}[{number}]", depth) for number, one in enumerate(value))

    def _condition(self, value: Any, where: str, depth: int) -> Condition:
        self._num_conditions += 1
        if self._num_conditions > MAX_CONDITIONS:
            raise RequestRefused(where, f"expected at most {MAX_CONDITIONS} conditions in a filter")
        given = object_of(value, where)
        if "key" in given:
            return self._field(given, where)
        unserved = next((key for key in given if key in UNSERVED_CONDITIONS), None)
        if unserved is not None:
            raise not_served(f"{where}.{unserved}", f"the condition {unserved}")
        if "has_id" in given:
            refuse_unknown(given, ("has_id",), f"{where}.")
            return HasId(self._ids(given["has_id"], f"{where}.has_id"))
        for name, kind in (("is_empty", IsEmpty), ("is_null", IsNull)):
            if name in given:
                refuse_unknown(given, (name,), f"{where}.")
                return kind(_key_of(given[name], f"{where}.{name}"))
        if given and not set(given) & set(CLAUSES):
            refuse_unknown(given, ("key", "has_id", "is_empty", "is_null", *CLAUSES), f"{where}.")
        return self.filter(given, where, depth + 1)

    def _field(self, given: Mapping[str, Any], where: str) -> Condition:
        key = _key(given["key"], f"{where}.key")
        unserved = next((name for name in given if name in UNSERVED_TESTS), None)
        if unserved is not None:
            raise not_served(f"{where}.{unserved}", f"the condition {unserved}")
        refuse_unknown(given, ("key", *TESTS), f"{where}.")
        tests = [name for name in TESTS if name in given]
        if len(tests) != 1:
            raise RequestRefused(where, f"expected one of {', '.join(TESTS)} beside the key, got {', '.join(tests) or 'none'}")
        name, value = tests[0], given[tests[0]]
        return self._test(name, value, key, f"{where}.{name}")

    def _test(self, name: str, value: Any, key: str, where: str) -> Condition:
        if name == "match":
            return self._match(value, key, where)
        if name == "range":
            return _range(value, key, where)
        if name == "values_count":
            return ValuesCount(key, **_bounds(value, where, lambda bound, place: _whole(bound, place, 0)))
        if not isinstance(value, bool):
            raise RequestRefused(where, f"expected true or false, got {kind_of(value)}")
        holds = IsEmpty(key) if name == "is_empty" else IsNull(key)
        return holds if value else Filter(must_not=(holds,))

    def _match(self, value: Any, key: str, where: str) -> Condition:
        given = object_of(value, where)
        unserved = next((name for name in given if name in UNSERVED_MATCHES), None)
        if unserved is not None:
            raise not_served(f"{where}.{unserved}", f"match {unserved}")
        refuse_unknown(given, MATCHES, f"{where}.")
        if len(given) != 1:
            raise RequestRefused(where, f"expected one of {', '.join(MATCHES)}, got {', '.join(given) or 'none'}")
        name, wanted = next(iter(given.items()))
        where = f"{where}.{name}"
        if name == "value":
            self._count(1, where)
            return Match(key, (_scalar(wanted, where, booleans=True),))
        if not isinstance(wanted, list):
            raise RequestRefused(where, f"expected a list of texts or of whole numbers, got {kind_of(wanted)}")
        self._count(len(wanted), where)
        values = tuple(dict.fromkeys(_scalar(one, f"{where}[{number}]") for number, one in enumerate(wanted)))
        if len({type(one) for one in values}) > 1:
            raise RequestRefused(where, "expected only texts or only whole numbers, got both")
        return Match(key, values) if name == "any" else Except(key, values)

    def _ids(self, value: Any, where: str) -> tuple[PointId, ...]:
        if not isinstance(value, list):
            raise RequestRefused(where, f"expected a list of ids, got {kind_of(value)}")
        self._count(len(value), where)
        return tuple(dict.fromkeys(parse_point_id(one, f"{where}[{number}]") for number, one in enumerate(value)))

    def _count(self, num_values: int, where: str) -> None:
        self._num_values += num_values
        if self._num_values > MAX_VALUES:
            raise RequestRefused(where, f"expected at most {MAX_VALUES} values and ids in a filter, got {self._num_values}")


def _range(value: Any, key: str, where: str) -> Condition:
    bounds = object_of(value, where).values()
    if any(isinstance(bound, str) for bound in bounds):
        return TimeRange(key, **_bounds(value, where, _time))
    return NumberRange(key, **_bounds(value, where, _number))


def _bounds(value: Any, where: str, read: Callable[[Any, str], N]) -> dict[str, N]:
    given = object_of(value, where)
    refuse_unknown(given, BOUNDS, f"{where}.")
    return {name: read(bound, f"{where}.{name}") for name, bound in given.items()}


def _key_of(value: Any, where: str) -> str:
    given = object_of(value, where)
    refuse_unknown(given, ("key",), f"{where}.")
    return _key(given.get("key"), f"{where}.key")


def _key(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise RequestRefused(where, f"expected the key of a payload value, got {kind_of(value)}")
    try:
        parse_key(_text(value, where))
    except KeyRefused as error:
        raise RequestRefused(where, str(error)) from error
    return value


def _scalar(value: Any, where: str, *, booleans: bool = False) -> Scalar:
    if isinstance(value, str):
        return _text(value, where)
    if booleans and isinstance(value, bool):
        return value
    kinds = "a text, a whole number, true or false" if booleans else "a text or a whole number"
    if type(value) is not int:
        raise RequestRefused(where, f"expected {kinds}, got {value!r:.40}")
    if not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
        raise RequestRefused(where, f"expected a whole number of 64 bits with a sign, got {value!r:.40}")
    return value


def _text(value: str, where: str) -> str:
    try:
        size_bytes = len(value.encode())
    except UnicodeEncodeError as error:
        raise RequestRefused(where, "expected text that can be written in UTF-8") from error
    if size_bytes > MAX_TEXT_BYTES:
        raise RequestRefused(where, f"expected at most {MAX_TEXT_BYTES} bytes of text, got {size_bytes}")
    return value


def _whole(value: Any, where: str, least: int) -> int:
    if type(value) is not int or not least <= value <= MAX_INTEGER:
        raise RequestRefused(where, f"expected a whole number of at least {least}, got {value!r:.40}")
    return value


def _number(value: Any, where: str) -> float:
    if type(value) is not int and type(value) is not float:
        raise RequestRefused(where, f"expected a number, got {kind_of(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise RequestRefused(where, "expected a finite number")
    return number


def _time(value: Any, where: str) -> int:
    time = parse_time(value) if isinstance(value, str) else None
    if time is None:
        raise RequestRefused(where, f"expected a time as 2026-11-23T10:00:00Z, got {value!r:.80}")
    return time
