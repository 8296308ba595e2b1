"""Rows as files give them: ids, vectors by name, payload as JSON; and what no file may hold.

Legend: N rows of one batch, D dimension.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from reelspace.core.errors import TableError
from reelspace.search.storage.ids import Id

BATCH_ROWS: Final = 10_000
MAX_DIMENSION: Final = 65_536
"""Longest vector; a file that claims longer ones is refused before anything is allocated for them."""
NO_PAYLOAD: Final = b"{}"
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """N rows in the order of their file: every row has every vector; the only, unnamed vector has an empty name.

    Args:
        vectors: float32 [N, D] by name, finite.
        payloads: one JSON object each, `{}` where the file holds none.
    """

    ids: Sequence[Id]
    vectors: Mapping[str, Floats]
    payloads: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Batches:
    """A file that was opened and looks right: the number of its rows, and its batches, which are read anew by every iteration."""

    num_rows: int
    read: Callable[[], Iterator[Batch]]

    def __iter__(self) -> Iterator[Batch]:
        """Read from the first row; TableError names the file and the row, counted from 0, that is wrong."""
        return self.read()


def checked_dimension(where: str, dimension: int) -> int:
    """Give the dimension; TableError if no vector may have it."""
    if not 1 <= dimension <= MAX_DIMENSION:
        raise TableError(f"{where}: expected vectors of 1 to {MAX_DIMENSION:,} numbers, it says {dimension:,}")
    return dimension


def float32_ND(where: str, values_ND: NDArray[Any], first_row: int) -> Floats:
    """Copy numbers of any type as float32.

    Raises:
        TableError: one is not finite, or too large for float32; names `where`, its row, counted from `first_row`, and its place.
    """
    with np.errstate(over="ignore"):  # 1e39 becomes infinite and is refused as such
        vectors_ND = np.array(values_ND, dtype=np.float32, order="C")
    finite_ND = np.isfinite(vectors_ND)
    if not finite_ND.all():
        row, place = np.argwhere(~finite_ND)[0]
        told = f"number {place} of the vector is {values_ND[row, place]}"
        raise TableError(f"{where}: row {first_row + row}: expected finite numbers of float32, {told}")
    return vectors_ND


def spans(num_rows: int, batch_rows: int) -> Iterator[tuple[int, int]]:
    """Give the first row of each batch, and the row after its last."""
    for start in range(0, num_rows, batch_rows):
        yield start, min(start + batch_rows, num_rows)
