"""Hits of several queries, best first.

Legend: Q queries, K hits, R candidates.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

NO_ROW: Final = -1
NO_SCORE: Final = np.float32(-np.inf)
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rows:
    """rows_QK int64 are a shard's own row numbers, scores_QK float32; missing hits are row -1 with score -inf, at the end."""

    rows_QK: Ints
    scores_QK: Floats


def nothing(num_queries: int, k: int) -> Rows:
    """Give no hit for any query."""
    return Rows(np.full((num_queries, k), NO_ROW, dtype=np.int64), np.full((num_queries, k), NO_SCORE, dtype=np.float32))


def widened(found: Rows, k: int) -> Rows:
    """Give k columns, the new ones without hits."""
    missing = k - found.rows_QK.shape[1]
    if missing <= 0:
        return found
    rest = nothing(len(found.rows_QK), missing)
    return Rows(np.concatenate([found.rows_QK, rest.rows_QK], axis=1), np.concatenate([found.scores_QK, rest.scores_QK], axis=1))
