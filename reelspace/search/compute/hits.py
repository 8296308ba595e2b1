"""Hits of several queries, best first.

Legend: Q queries, K hits, R candidates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NO_ID = -1
NO_SCORE = np.float32(-np.inf)


@dataclass(frozen=True, slots=True)
class Rows:
    """rows_QK int64 are a shard's own row numbers, scores_QK float32; missing hits are row -1 with score -inf, at the end."""

    rows_QK: NDArray[np.int64]
    scores_QK: NDArray[np.float32]


def rank(rows_QR: NDArray[np.int64], scores_QR: NDArray[np.float32], k: int) -> Rows:
    """Order candidates by falling score, equal scores by row, and keep k; row -1 or score -inf marks a missing one."""
    scores_QR = np.where(rows_QR < 0, NO_SCORE, scores_QR)
    order_QR = np.lexsort((rows_QR, -scores_QR), axis=1)[:, :k]
    scores_QK = np.take_along_axis(scores_QR, order_QR, axis=1)
    rows_QK = np.where(scores_QK == NO_SCORE, NO_ID, np.take_along_axis(rows_QR, order_QR, axis=1))
    missing = k - rows_QK.shape[1]
    if missing > 0:
        rows_QK = np.pad(rows_QK, ((0, 0), (0, missing)), constant_values=NO_ID)
        scores_QK = np.pad(scores_QK, ((0, 0), (0, missing)), constant_values=NO_SCORE)
    return Rows(rows_QK, scores_QK)
