"""Arrays that grow at the end, and values of one type with the rows that hold them.

Legend: N rows, W rows from a start to the end, E values.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


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

    def extend(self, rows: Sequence[int] | NDArray[np.int32], values: Sequence[Any] | NDArray[Any]) -> None:
        """Append values of rows that follow the last one."""
        rows_E = np.asarray(rows, dtype=np.int32)
        self._at_most_one = self._at_most_one and bool((np.diff(rows_E) > 0).all())
        self._rows.extend(rows_E)
        self._values.extend(values)

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
