"""Arrays that grow at the end, and values of one type with the rows that hold them.

Legend: N rows, W rows from a start to the end, E values, P values that lie in order, U different ones of them.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
# Below, comparing every value costs no more than looking up.
MIN_ORDERED: Final = 4096


class Growing:
    """An array to append to; room doubles when it is used up, so that many small appends cost as one."""

    def __init__(self, dtype: Any) -> None:
        self._room = np.empty(0, dtype=dtype)
        self._size = 0

    @property
    def array(self) -> NDArray[Any]:
        """What was appended, without a copy."""
        return self._room[: self._size]

    def extend(self, values: Sequence[Any] | NDArray[Any]) -> None:
        """Append values."""
        size = self._size + len(values)
        if size > len(self._room):
            room = np.empty(max(size, 2 * self._size), dtype=self._room.dtype)
            room[: self._size] = self.array
            self._room = room
        self._room[self._size : size] = values
        self._size = size


class RowValues:
    """Values of one type and the row of each; rows never fall, and may hold none or many."""

    def __init__(self, dtype: Any) -> None:
        self._rows = Growing(np.int32)
        self._values = Growing(dtype)
        self._at_most_one = True
        self._order: _ByValue | None = None

    def extend(self, rows: Sequence[int] | NDArray[np.int32], values: Sequence[Any] | NDArray[Any]) -> None:
        """Append values of rows that follow the last one."""
        rows_E = np.asarray(rows, dtype=np.int32)
        self._at_most_one = self._at_most_one and bool((np.diff(rows_E) > 0).all())
        self._rows.extend(rows_E)
        self._values.extend(values)

    def arrays(self) -> list[NDArray[Any]]:
        """Give the rows and their values."""
        return [self._rows.array, self._values.array]

    def mask(self, hits: Callable[[NDArray[Any]], Mask], start: int, num_rows: int) -> Mask:
        """Tell for each row from `start` to `num_rows` whether `hits` is true of one of its values."""
        rows_E, values_E = self._rows.array, self._values.array
        if start:
            first = int(np.searchsorted(rows_E, start))
            rows_E, values_E = rows_E[first:] - np.int32(start), values_E[first:]
        hits_E = hits(values_E)
        # One value in every row: values are rows.
        if self._at_most_one and len(rows_E) == num_rows - start:
            return hits_E
        mask_W = np.zeros(num_rows - start, dtype=np.bool_)
        mask_W[rows_E[hits_E]] = True
        return mask_W

    def mask_equal(self, wanted: NDArray[Any], start: int, num_rows: int) -> Mask:
        """Tell for each row from `start` to `num_rows` whether one of its values is among those wanted."""
        rows_E, values_E = self._rows.array, self._values.array
        if start or len(values_E) < MIN_ORDERED:
            return self.mask(among(wanted), start, num_rows)
        # Old values never change; what came since they were put in order is compared one by one.
        if self._order is None or 2 * self._order.num_values < len(values_E):
            self._order = _ByValue(values_E)
        mask_N = np.zeros(num_rows, dtype=np.bool_)
        for value in wanted:
            mask_N[rows_E[self._order.places(value)]] = True
        late = slice(self._order.num_values, None)
        mask_N[rows_E[late][among(wanted)(values_E[late])]] = True
        return mask_N

    def to_arrow(self, num_rows: int, texts: pa.Array | None) -> pa.ListArray:
        """Give one list per row; where `texts` are given, values are places among them."""
        starts = np.searchsorted(self._rows.array, np.arange(num_rows + 1)).astype(np.int32)
        values = pa.array(self._values.array)
        if texts is not None:
            values = pa.DictionaryArray.from_arrays(values, texts)
        return pa.ListArray.from_arrays(pa.array(starts), values)

    def read_arrow(self, lists: pa.ListArray) -> list[str] | None:
        """Append what `to_arrow` wrote; gives the texts if there were any."""
        values = lists.flatten()
        texts = values.dictionary.to_pylist() if isinstance(values, pa.DictionaryArray) else None
        flat = values.indices if texts is not None else values
        rows = np.repeat(np.arange(len(lists), dtype=np.int32), np.asarray(lists.value_lengths()))
        self.extend(rows, np.asarray(flat))
        return texts


def among(wanted: NDArray[Any]) -> Callable[[NDArray[Any]], Mask]:
    """Give the test whether each of some values is among those wanted."""
    if len(wanted) == 1:
        return lambda values_E: values_E == wanted[0]
    return lambda values_E: np.isin(values_E, wanted)


class _ByValue:
    """The places of values by value, so that those equal to one are found without a look at the others."""

    def __init__(self, values_P: NDArray[Any]) -> None:
        self.num_values = len(values_P)
        places_P = np.argsort(values_P, kind="stable")
        ordered_P = values_P[places_P]
        first_P = np.concatenate([[True], ordered_P[1:] != ordered_P[:-1]])
        starts_U = np.flatnonzero(first_P)
        self._different_U = ordered_P[starts_U]
        self._bounds_U = np.append(starts_U, self.num_values)
        self._places_P = places_P.astype(np.int32)

    def places(self, value: Any) -> NDArray[np.int32]:
        """Give the places that hold the value, in rising order."""
        at = int(np.searchsorted(self._different_U, value))
        if at == len(self._different_U) or self._different_U[at] != value:
            return self._places_P[:0]
        return self._places_P[self._bounds_U[at] : self._bounds_U[at + 1]]
