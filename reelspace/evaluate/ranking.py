"""Exact rankings and precision over them.

Legend: Q queries, N gallery rows, D dimension, K hits kept.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


def exact_rows_QK(queries_QD: Floats, gallery_ND: Floats, k: int, own_rows_Q: Ids | None = None) -> Ids:
    """Rank the whole gallery by inner product and keep the best k rows of every query.

    Args:
        queries_QD: unit vectors.
        gallery_ND: unit vectors.
        k: hits kept; at most N, or N - 1 when own rows are left out.
        own_rows_Q: the gallery row of each query itself, left out of its answer; -1 where the query is not in the gallery.

    Returns:
        Row numbers by falling score; equal scores are ordered by row number, so results repeat.
    """
    scores_QN = queries_QD @ gallery_ND.T
    if own_rows_Q is not None:
        inside_Q = np.flatnonzero(own_rows_Q >= 0)
        scores_QN[inside_Q, own_rows_Q[inside_Q]] = -np.inf
    return np.argsort(-scores_QN, axis=1, kind="stable")[:, :k].astype(np.int64)


def precision_Q(rows_QK: Ids, gallery_class_N: Ids, query_class_Q: Ids) -> NDArray[np.float64]:
    """Give each query the share of its hits that are of its own class."""
    return np.asarray((gallery_class_N[rows_QK] == query_class_Q[:, None]).mean(axis=1), dtype=np.float64)


def bootstrap_interval(values: NDArray[np.float64], generator: np.random.Generator, rounds: int = 1000) -> tuple[float, float]:
    """Give the 95 % percentile interval of the mean of independent values.

    Source: Efron (1979), percentile bootstrap.
    """
    picks = generator.integers(0, len(values), size=(rounds, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
