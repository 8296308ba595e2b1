"""Single values of JSON Lines and CSV, parsed strictly into what a column holds."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import orjson

from reelspace.steps.bad_rows import Reason

LIMITS: Final = {"int32": 2**31 - 1, "int64": 2**63 - 1}
_BOX_FIELDS = ("x0", "y0", "x1", "y1")
_CSV_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_CSV_BOOLS: Final = {"true": True, "false": False}
_MAX_DIGITS = 40


class WrongValue(Exception):
    """A value that is not what its column holds; an empty detail leaves the words to the caller."""

    def __init__(self, reason: Reason = Reason.WRONG_TYPE, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def parse(kind: str, value: object, *, is_csv: bool) -> object:
    """Give the value a column of this type holds.

    Raises:
        WrongValue: it is none.
    """
    if is_csv and isinstance(value, str):
        value = _CSV[kind](value) if kind in _CSV else value
    return _parse_integer(kind, value) if kind in LIMITS else _JSON[kind](value)


def short(value: object) -> str:
    """Show at most 60 characters of a value."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def utf8_problem(data: bytes) -> tuple[Reason, str] | None:
    """Tell what keeps bytes from being text, and where; None if they are."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        # UTF-8 would write the halves of a UTF-16 pair as ED A0..BF xx; it forbids them.
        is_surrogate = data[error.start] == 0xED and data[error.start + 1 : error.start + 2] >= b"\xa0"
        what = "half of a UTF-16 pair" if is_surrogate else "no UTF-8"
        return (Reason.LONE_SURROGATE if is_surrogate else Reason.NOT_UTF8), f"byte {error.start + 1} of {len(data)} begins {what}"
    return None


def _parse_integer(kind: str, value: object) -> int:
    limit = LIMITS[kind]
    # A JSON reader without long integers gives a float from 2^64 on.
    is_huge = isinstance(value, float) and value.is_integer() and abs(value) >= 2**63
    if is_huge or (isinstance(value, int) and not isinstance(value, bool) and value > limit):
        raise WrongValue(Reason.OUT_OF_RANGE, f"expected an integer up to {limit}, got {short(value)}")
    if not isinstance(value, int) or isinstance(value, bool):
        raise WrongValue
    if value < 0:
        raise WrongValue(Reason.NEGATIVE, f"expected a number that is not negative, got {short(value)}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise WrongValue
    return value


def _timestamp(value: object) -> datetime:
    try:
        time = datetime.fromisoformat(_text(value))
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise WrongValue


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise WrongValue
    return value


def _texts(value: object) -> list[str | None]:
    if not isinstance(value, list):
        raise WrongValue
    return [None if item is None else _text(item) for item in value]


def _box(value: object) -> list[float]:
    numbers = [value.get(name) for name in _BOX_FIELDS] if isinstance(value, dict) and set(value) == set(_BOX_FIELDS) else value
    if not isinstance(numbers, list) or len(numbers) != 4:
        raise WrongValue
    if any(not isinstance(number, int | float) or isinstance(number, bool) for number in numbers):
        raise WrongValue
    return [float(number) for number in numbers]


def _csv_integer(text: str) -> object:
    if not _CSV_INTEGER.fullmatch(text):
        raise WrongValue
    # Longer ones are out of range whatever their digits are, and slow to turn into a number.
    return int(text) if len(text) <= _MAX_DIGITS else float("1e40")


def _csv_bool(text: str) -> bool:
    if text not in _CSV_BOOLS:
        raise WrongValue
    return _CSV_BOOLS[text]


def _csv_json(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise WrongValue from error


_JSON: Final[Mapping[str, Callable[[object], object]]] = {
    "timestamp": _timestamp,
    "text": _text,
    "bool": _bool,
    "list<text>": _texts,
    "box": _box,
}
_CSV: Final[Mapping[str, Callable[[str], object]]] = {
    "int64": _csv_integer,
    "int32": _csv_integer,
    "bool": _csv_bool,
    "list<text>": _csv_json,
    "box": _csv_json,
}
