"""Unit vectors of some rows as float16, compared by faiss: half the memory, which is what a search among thousands of rows waits for.

Legend: A rows, D dimension, Q queries, R candidates.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from reelspace.search.compute.library import faiss
from reelspace.search.compute.scoring import Floats, Ints

HALF_BYTES: Final = 2
ROUNDING: Final = 2.0**-11
SMALLEST: Final = 2.0**-25
ADDED_ROWS: Final = 4096


@dataclass(frozen=True, slots=True, eq=False)
class HalfRows:
    """The rows; a guess of an inner product with a unit vector differs from it by less than half of `margin`."""

    index: Any
    margin: float

    @classmethod
    def of(cls, vectors_AD: Floats) -> "HalfRows":
        """Round vectors of length 1."""
        dimension = vectors_AD.shape[1]
        index = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        for start in range(0, len(vectors_AD), ADDED_ROWS):
            index.add(vectors_AD[start : start + ADDED_ROWS])
        # Rounding moves a number by its share, below the smallest normal number by as much as that; sums in float32 add less than that.
        return cls(index, 2 * (1.1 * ROUNDING + SMALLEST * float(np.sqrt(dimension))))

    @property
    def size_bytes(self) -> int:
        """Memory that they take."""
        return HALF_BYTES * int(self.index.ntotal) * int(self.index.d)

    def best(self, vectors_QD: Floats, num: int) -> tuple[Ints, Floats]:
        """Give places and guesses of the best rows of each query, at least one row and at most all of them."""
        faiss.omp_set_num_threads(1)
        guesses_QR, places_QR = self.index.search(vectors_QD, num)
        return places_QR, guesses_QR
