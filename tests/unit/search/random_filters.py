"""Random payloads and filters of the Qdrant dialect, made with the official client's own models."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import numpy as np
from qdrant_client.http import models

from reelspace.search.compute.payloads import RowsOf

TEXTS = ["red", "Red", "green", "", "1", "true", "null", "2020-01-02", "猫"]
TIMES = [
    "2020-01-02T03:04:05Z",
    "2020-01-02 05:04:05+02:00",
    "2020-01-02T03:04:05.123456789Z",
    "2020-01-02T03:04",
    "2020-1-2",
    "2021-12-31T23:59:59-11:30",
    "2020-01-02T03:04:05 UTC",
    "2020-01-02T03:04:05+02",
    "2020-13-01",
    "2020-01-02T03:04+02:00",
]
INTEGERS = [-(2**63), -2, 0, 1, 2, 3, 2**53, 2**53 + 1, 2**63 - 1]
FLOATS = [-1.5, 0.0, 1.0, 2.5, 1e300]
NAMES = ["a", "b", "list", "odd key", "x-y"]
KEYS = ["a", "b", "list", "list[]", "list[0]", "list[].a", "list[][]", "a.b", "a.list[1]", '"odd key"', 'a."odd key"', "x-y.a", "nothing"]
IDS: list[int | str] = [0, 1, 2**64 - 1, "5c56c793-69f3-4fbf-87e6-c4bf54c28c26", "00000000-0000-0000-0000-000000000001"]


class Draw:
    """Draws from a seed."""

    def __init__(self, seed: int) -> None:
        self._draw = np.random.default_rng(seed)

    def one_of(self, choices: Any) -> Any:
        return choices[int(self._draw.integers(len(choices)))]

    def some_of(self, choices: Any, most: int = 3) -> list[Any]:
        return [self.one_of(choices) for _ in range(int(self._draw.integers(most + 1)))]

    def chance(self, share: float) -> bool:
        return bool(self._draw.random() < share)

    def below(self, limit: int) -> int:
        return int(self._draw.integers(limit))

    def scalar(self) -> Any:
        return self.one_of([self.one_of(TEXTS), self.one_of(TIMES), self.one_of(INTEGERS), self.one_of(FLOATS), None, True, False])

    def value(self, depth: int = 3) -> Any:
        if depth == 0 or self.chance(0.5):
            return self.scalar()
        if self.chance(0.6):
            return [self.value(depth - 1) for _ in range(self.below(4))]
        return self.payload(depth - 1)

    def payload(self, depth: int = 3) -> dict[str, Any]:
        return {name: self.value(depth) for name in NAMES if self.chance(0.6)}

    def point_id(self, number: int) -> int | str:
        return number if self.chance(0.7) else str(UUID(int=number))

    def match(self) -> Any:
        kind = self.below(4)
        if kind == 0:
            return models.MatchValue(value=self.one_of([self.one_of(TEXTS), self.one_of(TIMES), self.one_of(INTEGERS), True, False]))
        wanted = self.some_of(self.one_of([TEXTS, INTEGERS]))
        return models.MatchExcept(**{"except": wanted}) if kind == 1 else models.MatchAny(any=wanted)

    def bounds(self, choices: Any, share: float = 0.4) -> dict[str, Any]:
        return {name: self.one_of(choices) for name in ("gt", "gte", "lt", "lte") if self.chance(share)}

    def time(self) -> datetime | date:
        zone = self.one_of([UTC, None, timezone(timedelta(hours=2)), timezone(-timedelta(hours=11, minutes=30))])
        moment = datetime(2020, 1, 2, 3, 4, 5, self.one_of([0, 123456, 123457]), tzinfo=zone)
        return self.one_of([moment, moment + timedelta(hours=2), date(2020, 1, 2), datetime(2022, 1, 1, 11, 29, 59, tzinfo=UTC)])

    def field(self) -> Any:
        key, kind = self.one_of(KEYS), self.below(6)
        if kind <= 1:
            return models.FieldCondition(key=key, match=self.match())
        if kind == 2:
            return models.FieldCondition(key=key, range=models.Range(**self.bounds([*INTEGERS, *FLOATS])))
        if kind == 3:
            bounds = {name: self.time() for name in self.bounds([0])} or {"gte": self.time()}
            return models.FieldCondition(key=key, range=models.DatetimeRange(**bounds))
        if kind == 4:
            return models.FieldCondition(key=key, values_count=models.ValuesCount(**self.bounds([0, 1, 2, 3])))
        return models.FieldCondition(key=key, **{self.one_of(["is_empty", "is_null"]): self.chance(0.5)})

    def condition(self, depth: int) -> Any:
        kind = self.below(10)
        if kind == 0:
            return models.IsEmptyCondition(is_empty=models.PayloadField(key=self.one_of(KEYS)))
        if kind == 1:
            return models.IsNullCondition(is_null=models.PayloadField(key=self.one_of(KEYS)))
        if kind == 2:
            return models.HasIdCondition(has_id=[self.point_id(self.below(80)) for _ in range(self.below(50))])
        if kind <= 4 and depth > 0:
            return self.filter(depth - 1)
        return self.field()

    def filter(self, depth: int = 2) -> models.Filter:
        clauses: dict[str, Any] = {}
        for name in ("must", "should", "must_not"):
            if self.chance(0.4):
                conditions = [self.condition(depth) for _ in range(self.below(4))]
                clauses[name] = conditions[0] if len(conditions) == 1 and self.chance(0.5) else conditions
        if self.chance(0.2):
            conditions = [self.condition(depth) for _ in range(self.below(5))]
            clauses["min_should"] = models.MinShould(conditions=conditions, min_count=1 + self.below(3))
        return models.Filter(**clauses)


def as_json(where: models.Filter) -> Any:
    return where.model_dump(mode="json", by_alias=True, exclude_unset=True)


def rows_of(ids: list[int | str]) -> RowsOf:
    """Number ids in their order."""
    rows = {UUID(one) if isinstance(one, str) else one: row for row, one in enumerate(ids)}
    return lambda wanted: np.array([rows.get(one, -1) for one in wanted], dtype=np.int64)
