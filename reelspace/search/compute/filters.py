"""Filters of the Qdrant dialect as a tree of values, and the bytes in which they travel to a shard.

A condition holds for a row when any of the values at its key fulfils it; a list counts as its items, one level deep.
Whole numbers, other numbers and booleans are three kinds: 1, 1.0 and true never match each other, but both numbers have ranges.
"""

from dataclasses import dataclass, fields
from typing import Any, Final
from uuid import UUID

import orjson

from reelspace.core.errors import UserError

Scalar = str | int | bool
PointId = int | UUID


class FilterRefused(UserError):
    """Bytes that are no filter of ours."""


@dataclass(frozen=True, slots=True)
class Match:
    """A value equals one of these; texts by every character."""

    key: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Except:
    """A value other than null equals none of these; a row without values fails."""

    key: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class NumberRange:
    """A number lies within every bound given; without bounds, any number."""

    key: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A text that is a time lies within every bound given, in microseconds since 1970, UTC."""

    key: str
    gt: int | None = None
    gte: int | None = None
    lt: int | None = None
    lte: int | None = None


@dataclass(frozen=True, slots=True)
class ValuesCount:
    """The number of values lies within every bound given: of items for a list, 0 for null or none, else 1."""

    key: str
    gt: int | None = None
    gte: int | None = None
    lt: int | None = None
    lte: int | None = None


@dataclass(frozen=True, slots=True)
class IsEmpty:
    """Nothing lies at the key, or only null and empty lists."""

    key: str


@dataclass(frozen=True, slots=True)
class IsNull:
    """Null lies at the key, or in a list there."""

    key: str


@dataclass(frozen=True, slots=True)
class HasId:
    """The row's id is one of these."""

    ids: tuple[PointId, ...]


FieldCondition = Match | Except | NumberRange | TimeRange | ValuesCount | IsEmpty | IsNull


@dataclass(frozen=True, slots=True)
class MinShould:
    """At least this many of the conditions hold."""

    conditions: "tuple[Condition, ...]"
    min_count: int


@dataclass(frozen=True, slots=True)
class Filter:
    """All of must, none of must_not, one of should if there are any, and min_should; an empty filter allows every row."""

    must: "tuple[Condition, ...]" = ()
    should: "tuple[Condition, ...]" = ()
    must_not: "tuple[Condition, ...]" = ()
    min_should: MinShould | None = None


Condition = FieldCondition | HasId | Filter

_KINDS: Final[dict[str, Any]] = {
    "match": Match,
    "except": Except,
    "range": NumberRange,
    "time": TimeRange,
    "count": ValuesCount,
    "empty": IsEmpty,
    "null": IsNull,
    "id": HasId,
}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


def encode_filter(where: Filter) -> bytes:
    """Write a filter as bytes, which are also its name in caches: equal filters give equal bytes."""
    return orjson.dumps(_encoded(where))


def decode_filter(data: bytes) -> Filter:
    """Read what `encode_filter` wrote; FilterRefused for anything else."""
    try:
        where = _decoded(orjson.loads(data))
    except (orjson.JSONDecodeError, TypeError, ValueError, KeyError) as error:
        raise FilterRefused(f"expected the bytes of a filter, got {data[:80]!r}: {error}") from error
    if not isinstance(where, Filter):
        raise FilterRefused(f"expected the bytes of a filter, got those of a condition: {data[:80]!r}")
    return where


def _encoded(condition: Condition) -> list[Any]:
    if not isinstance(condition, Filter):
        return [_NAMES[type(condition)], *(getattr(condition, field.name) for field in fields(condition))]
    clauses = [[_encoded(one) for one in clause] for clause in (condition.must, condition.should, condition.must_not)]
    least = condition.min_should
    return ["filter", *clauses, None if least is None else [[_encoded(one) for one in least.conditions], least.min_count]]


def _decoded(value: list[Any]) -> Condition:
    name, *rest = value
    if name == "id":
        return HasId(tuple(UUID(item) if isinstance(item, str) else item for item in rest[0]))
    if name != "filter":
        condition: Condition = _KINDS[name](*(tuple(item) if isinstance(item, list) else item for item in rest))
        return condition
    must, should, must_not, least = rest
    min_should = None if least is None else MinShould(_all_decoded(least[0]), int(least[1]))
    return Filter(_all_decoded(must), _all_decoded(should), _all_decoded(must_not), min_should)


def _all_decoded(values: list[Any]) -> tuple[Condition, ...]:
    return tuple(_decoded(value) for value in values)
