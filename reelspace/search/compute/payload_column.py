"""What lies at one key of every row, by type, so that a condition becomes a bitmap with a few numpy operations.

Legend: N rows, W rows from a start to the end, E values with the rows that hold them, S selected values, C different texts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reelspace.search.compute.filters import Except, FieldCondition, IsEmpty, IsNull, Match, NumberRange, Scalar, TimeRange, ValuesCount
from reelspace.search.compute.payload_times import parse_time
from reelspace.search.compute.payload_values import Growing, RowValues, among
from reelspace.search.storage.payload_path import Path, parse_key, values_at

Mask = NDArray[np.bool_]
Bounds = NumberRange | TimeRange | ValuesCount
MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**63 - 1
NO_TIME: Final = MIN_INTEGER
TEXTS: Final = "texts"
INTEGERS: Final = "integers"
FLOATS: Final = "floats"
BOOLEANS: Final = "booleans"
OTHERS: Final = "others"
COUNTS: Final = "counts"
_SCALARS: Final = (TEXTS, INTEGERS, FLOATS, BOOLEANS, OTHERS)
_INTEGER: Final = _SCALARS.index(INTEGERS)
_FLOAT: Final = _SCALARS.index(FLOATS)
_NULL: Final = len(_SCALARS)
_KIND_OF: Final = {str: 0, int: _INTEGER, float: _FLOAT, bool: 3, dict: 4, list: 4, type(None): _NULL}
_DTYPES: Final = {TEXTS: np.int32, INTEGERS: np.int64, FLOATS: np.float64, BOOLEANS: np.bool_, OTHERS: np.bool_, COUNTS: np.int32}


class PayloadColumn:
    """The values at one key of rows 0 to N - 1; rows are only ever added at the end.

    Texts are numbers into a table of different texts, and times are read once per different text. Whole numbers beyond 64 bits
    are kept as float64. Objects and lists in lists are others: they exist, and equal nothing.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.num_rows = 0
        self._path = parse_key(key)
        self._codes: dict[str, int] = {}
        self._times_C = Growing(np.int64)
        self._values = {kind: RowValues(dtype) for kind, dtype in _DTYPES.items()}
        self._empty_N = Growing(np.bool_)
        self._null_N = Growing(np.bool_)

    def extend(self, payloads: Sequence[Any]) -> None:
        """Read the payloads of the next rows."""
        start, num_new = self.num_rows, len(payloads)
        found = _gathered(payloads, self._path, start)
        rows_E, kinds_E = np.array(found.item_rows, dtype=np.int32), _kinds(found.items)
        for number, kind in enumerate(_SCALARS):
            places = np.flatnonzero(kinds_E == number)
            if len(places):
                items = found.items if len(places) == len(rows_E) else [found.items[place] for place in places.tolist()]
                self._values[kind].extend(rows_E[places], self._stored(kind, items))
        counts_S, rows_S = np.array(found.counts, dtype=np.int32), np.array(found.count_rows, dtype=np.int32)
        self._values[COUNTS].extend(rows_S, counts_S)
        self._null_N.extend(_flags(rows_E[kinds_E == _NULL] - start, num_new))
        self._empty_N.extend(~_flags(rows_S[counts_S > 0] - start, num_new))
        self.num_rows += num_new

    def mask(self, condition: FieldCondition, start: int = 0) -> Mask:
        """Give for each row from `start` on whether the condition holds; the key of the condition is no matter."""
        match condition:
            case Match(values=values):
                return self._equal(values, start)
            case Except(values=values):
                return self._except(values, start)
            case NumberRange():
                floats = self._mask(FLOATS, lambda numbers_E: _within(numbers_E, condition), start)
                return floats | self._mask(INTEGERS, lambda numbers_E: _within(numbers_E, condition), start)
            case TimeRange():
                return self._mask(TEXTS, self._times_within(condition), start)
            case ValuesCount():
                bare = ~self._mask(COUNTS, _all, start) if _within(np.zeros(1, dtype=np.int64), condition)[0] else False
                return self._mask(COUNTS, lambda counts_E: _within(counts_E, condition), start) | bare
            case IsEmpty():
                return self._empty_N.array[start:].copy()
            case IsNull():
                return self._null_N.array[start:].copy()

    def arrays(self) -> list[NDArray[Any]]:
        """Give the memory of what was read so far; more comes only behind it."""
        values = [array for values in self._values.values() for array in values.arrays()]
        return [*values, self._empty_N.array, self._null_N.array]

    def to_arrow(self) -> pa.StructArray:
        """Give the column as one Arrow value per row: a list per type, and two flags; `from_arrow` reads it back."""
        texts = pa.array(list(self._codes), pa.string())
        lists = {kind: values.to_arrow(self.num_rows, texts if kind == TEXTS else None) for kind, values in self._values.items()}
        flags = {"empty": pa.array(self._empty_N.array), "null": pa.array(self._null_N.array)}
        return pa.StructArray.from_arrays([*lists.values(), *flags.values()], names=[*lists, *flags])

    @classmethod
    def from_arrow(cls, key: str, rows: pa.StructArray) -> "PayloadColumn":
        """Make the column that `to_arrow` wrote."""
        column = cls(key)
        for kind, values in column._values.items():
            texts = values.read_arrow(rows.field(kind))
            if kind == TEXTS:
                column._codes = {text: code for code, text in enumerate(texts or ())}
        column._empty_N.extend(np.asarray(rows.field("empty")))
        column._null_N.extend(np.asarray(rows.field("null")))
        column.num_rows = len(rows)
        return column

    def _stored(self, kind: str, items: Sequence[Any]) -> Sequence[Any]:
        if kind == TEXTS:
            codes = self._codes
            return [codes.setdefault(text, len(codes)) for text in items]
        return [True] * len(items) if kind == OTHERS else items

    def _mask(self, kind: str, hits: Callable[[NDArray[Any]], Mask], start: int) -> Mask:
        return self._values[kind].mask(hits, start, self.num_rows)

    def _equal(self, wanted: Sequence[Scalar], start: int) -> Mask:
        masks = [self._values[kind].mask_equal(values, start, self.num_rows) for kind, values in self._by_kind(wanted).items()]
        return reduce(np.logical_or, masks) if masks else np.zeros(self.num_rows - start, dtype=np.bool_)

    def _except(self, unwanted: Sequence[Scalar], start: int) -> Mask:
        mask = np.zeros(self.num_rows - start, dtype=np.bool_)
        known = self._by_kind(unwanted)
        for kind in _SCALARS:
            mask |= self._mask(kind, _none_of(among(known[kind])) if kind in known else _all, start)
        return mask

    def _by_kind(self, wanted: Sequence[Scalar]) -> dict[str, NDArray[Any]]:
        """Give the wanted values as they are stored, of each kind that is wanted at all."""
        texts = [self._codes[value] for value in wanted if isinstance(value, str) and value in self._codes]
        booleans = [value for value in wanted if isinstance(value, bool)]
        integers = [value for value in wanted if type(value) is int]
        found = {TEXTS: texts, INTEGERS: integers, BOOLEANS: booleans}
        return {kind: np.array(values, dtype=_DTYPES[kind]) for kind, values in found.items() if values}

    def _times_within(self, bounds: TimeRange) -> Callable[[NDArray[Any]], Mask]:
        num_read = len(self._times_C.array)
        if num_read < len(self._codes):
            times = (parse_time(text) for text in islice(self._codes, num_read, None))
            self._times_C.extend([NO_TIME if time is None else time for time in times])
        times_C = self._times_C.array
        good_C = (times_C != NO_TIME) & _within(times_C, bounds)
        return lambda codes_E: good_C[codes_E]


@dataclass(frozen=True, slots=True)
class _Gathered:
    """What a path selects: items, lists as theirs, with the row of each; and the count of each selected value with its row."""

    items: list[Any]
    item_rows: list[int]
    counts: list[int]
    count_rows: list[int]


def _gathered(payloads: Sequence[Any], path: Path, start: int) -> _Gathered:
    found = _Gathered([], [], [], [])
    items, item_rows, counts, count_rows = found.items, found.item_rows, found.counts, found.count_rows
    for row, payload in enumerate(payloads, start):
        for value in values_at(payload, path):
            count_rows.append(row)
            if type(value) is list:
                items.extend(value)
                item_rows.extend([row] * len(value))
                counts.append(len(value))
            else:
                items.append(value)
                item_rows.append(row)
                counts.append(value is not None)
    return found


def _kinds(items: Sequence[Any]) -> NDArray[np.int8]:
    """Give each item's place among _SCALARS, or _NULL."""
    numbers = [_KIND_OF[type(item)] for item in items]
    kinds_E = np.array(numbers, dtype=np.int8)
    for place in np.flatnonzero(kinds_E == _INTEGER).tolist():
        if not MIN_INTEGER <= items[place] <= MAX_INTEGER:
            kinds_E[place] = _FLOAT
    return kinds_E


def _flags(rows_E: NDArray[np.int32], num_rows: int) -> Mask:
    flags_N = np.zeros(num_rows, dtype=np.bool_)
    flags_N[rows_E] = True
    return flags_N


def _all(values_E: NDArray[Any]) -> Mask:
    return np.ones(len(values_E), dtype=np.bool_)


def _none_of(wanted: Callable[[NDArray[Any]], Mask]) -> Callable[[NDArray[Any]], Mask]:
    return lambda values_E: ~wanted(values_E)


def _within(numbers: NDArray[Any], bounds: Bounds) -> Mask:
    if numbers.dtype.kind == "f":
        return _floats_within(numbers, bounds)
    # Whole numbers meet whole bounds: as float64, neighbours beyond 2^53 would be one number.
    low, high = MIN_INTEGER, MAX_INTEGER
    if bounds.gt is not None:
        low = max(low, math.floor(bounds.gt) + 1)
    if bounds.gte is not None:
        low = max(low, math.ceil(bounds.gte))
    if bounds.lt is not None:
        high = min(high, math.ceil(bounds.lt) - 1)
    if bounds.lte is not None:
        high = min(high, math.floor(bounds.lte))
    if low > high:
        return np.zeros(len(numbers), dtype=np.bool_)
    wide = numbers.astype(np.int64, copy=False)
    mask: Mask = (wide >= low) & (wide <= high)
    return mask


def _floats_within(numbers: NDArray[np.float64], bounds: Bounds) -> Mask:
    mask = np.ones(len(numbers), dtype=np.bool_)
    if bounds.gt is not None:
        mask &= numbers > bounds.gt
    if bounds.gte is not None:
        mask &= numbers >= bounds.gte
    if bounds.lt is not None:
        mask &= numbers < bounds.lt
    if bounds.lte is not None:
        mask &= numbers <= bounds.lte
    return mask
