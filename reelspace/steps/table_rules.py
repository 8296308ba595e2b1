"""What a value of the right type must still hold: numbers, times, choices, boxes, characters."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reelspace.core.schemas import Column
from reelspace.steps.bad_rows import Reason
from reelspace.steps.table_values import short

_LAST_YEAR_US = 253_402_300_799_999_999
"""The end of the year 9999, the last that Python's times reach."""


@dataclass(frozen=True, slots=True)
class RowRules:
    """The bounds of times (microseconds since 1970, None means no bound) and checks of single text columns.

    A check gets a text and gives what is wrong with it, None if nothing is.
    """

    earliest_us: int | None = None
    latest_us: int | None = None
    text_checks: Mapping[str, Callable[[str], str | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule, the places (a mask) where it is broken, and the words for one such value (an Arrow scalar)."""

    where: Any
    reason: Reason
    words: Callable[[Any], str]


def broken_rules(column: Column, array: pa.Array, rules: RowRules) -> Iterator[Broken]:
    """Give what the rules of a column find in a normalised array, the first that counts first."""
    if column.type == "timestamp":
        yield from _times(array, rules)
    elif column.type == "text":
        yield from _texts(column, array, rules)
    elif column.type == "list<text>":
        yield from _lists(array)
    elif column.type == "box":
        yield Broken(_is_no_box(array), Reason.WRONG_VALUE, _expected("finite 0 <= x0 < x1 and 0 <= y0 < y1"))


def _expected(what: str) -> Callable[[Any], str]:
    return lambda value: f"expected {what}, got {short(value.as_py())}"


def _times(array: pa.Array, rules: RowRules) -> Iterator[Broken]:
    times = array.view(pa.int64())
    yield _late(times, _LAST_YEAR_US, Reason.OUT_OF_RANGE)
    if rules.latest_us is not None:
        yield _late(times, rules.latest_us, Reason.IN_THE_FUTURE)
    if rules.earliest_us is not None:
        words = f"expected a time from {_moment(rules.earliest_us)} on, got"
        yield Broken(pc.less(times, rules.earliest_us), Reason.TOO_EARLY, lambda value: f"{words} {_of(value)}")


def _late(times: pa.Array, last_us: int, reason: Reason) -> Broken:
    bound = _moment(last_us)
    return Broken(pc.greater(times, last_us), reason, lambda value: f"expected a time up to {bound}, got {_of(value)}")


def _of(value: Any) -> str:
    return _moment(value.value)


def _moment(time_us: int) -> str:
    return f"{np.datetime64(time_us, 'us')}Z"


def _texts(column: Column, array: pa.Array, rules: RowRules) -> Iterator[Broken]:
    yield Broken(pc.match_substring(array, "\0"), Reason.NUL_CHARACTER, _nul_words)
    if column.choices:
        allowed = pc.or_(pc.is_in(array, pa.array(column.choices, pa.large_string())), pc.is_null(array))
        yield Broken(pc.invert(allowed), Reason.WRONG_VALUE, _expected(f"one of {', '.join(column.choices)}"))
    if column.required and not column.blank:
        yield Broken(pc.equal(array, ""), Reason.WRONG_VALUE, _expected("text that is not empty"))
    if check := rules.text_checks.get(column.name):
        wrong = [value is not None and check(value) is not None for value in array.to_pylist()]
        yield Broken(pa.array(wrong, pa.bool_()), Reason.WRONG_URI, lambda value: str(check(value.as_py())))


def _nul_words(value: Any) -> str:
    text = value.as_py()
    return f"character {text.index(chr(0)) + 1} of {len(text)} is NUL"


def _lists(array: pa.Array) -> Iterator[Broken]:
    items = pc.list_flatten(array)
    parents = pc.list_parent_indices(array)
    for mask, reason, words in (
        (pc.is_null(items), Reason.WRONG_VALUE, _expected("a list of texts without nulls")),
        (pc.match_substring(items, "\0"), Reason.NUL_CHARACTER, lambda _: "a text of the list holds NUL"),
    ):
        if pc.any(mask).as_py():
            where = np.zeros(len(array), bool)
            where[parents.filter(mask).to_numpy()] = True
            yield Broken(pa.array(where), reason, words)


def _is_no_box(array: pa.Array) -> pa.Array:
    wrong = np.zeros(len(array), bool)
    present = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))
    numbers = pc.list_flatten(array).to_numpy(zero_copy_only=False).reshape(-1, 4)
    x0, y0, x1, y1 = numbers.T
    with np.errstate(invalid="ignore"):
        wrong[present] = ~(np.isfinite(numbers).all(axis=1) & (x0 >= 0) & (x0 < x1) & (y0 >= 0) & (y0 < y1))
    return pa.array(wrong)
