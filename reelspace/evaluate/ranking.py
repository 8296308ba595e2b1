"""Exact rankings and what is measured over them.

Legend: Q queries, N gallery rows, D dimension, K hits kept.
A measure of a query without any relevant row is not defined: it is NaN, and means leave it out.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Flags = NDArray[np.bool_]
Values = NDArray[np.float64]
_QUERIES_AT_ONCE = 512


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
    own_Q = np.full(len(queries_QD), -1, dtype=np.int64) if own_rows_Q is None else own_rows_Q
    parts = [
        _best_rows(queries_QD[start : start + _QUERIES_AT_ONCE] @ gallery_ND.T, own_Q[start : start + _QUERIES_AT_ONCE], k)
        for start in range(0, len(queries_QD), _QUERIES_AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, k), dtype=np.int64)


def _best_rows(scores_QN: Floats, own_rows_Q: Ids, k: int) -> Ids:
    inside_Q = np.flatnonzero(own_rows_Q >= 0)
    scores_QN[inside_Q, own_rows_Q[inside_Q]] = -np.inf
    return np.argsort(-scores_QN, axis=1, kind="stable")[:, :k].astype(np.int64)


def precision_Q(rows_QK: Ids, gallery_class_N: Ids, query_class_Q: Ids) -> NDArray[np.float64]:
    """Give each query the share of its hits that are of its own class."""
    return np.asarray((gallery_class_N[rows_QK] == query_class_Q[:, None]).mean(axis=1), dtype=np.float64)


def precision_at_Q(relevant_QK: Flags, k: int) -> Values:
    """Give the share of the first k hits that are relevant; hits that are missing (K < k) count as wrong."""
    return np.asarray(relevant_QK[:, :k].sum(axis=1) / k, dtype=np.float64)


def recall_at_Q(relevant_QK: Flags, num_relevant_Q: Ids, k: int) -> Values:
    """Give the share of all relevant rows that the first k hits hold."""
    return _divided(relevant_QK[:, :k].sum(axis=1).astype(np.float64), num_relevant_Q.astype(np.float64))


def average_precision_Q(relevant_QK: Flags, num_relevant_Q: Ids) -> Values:
    """Average the precision at the rank of every relevant row; those not among the K hits count 0.

    Source: trec_eval, `map` (`map_cut_K` for a ranking cut at K): the divisor is the number of all relevant rows.
    """
    ranks_K = np.arange(1, relevant_QK.shape[1] + 1)
    precision_QK = np.cumsum(relevant_QK, axis=1) / ranks_K
    return _divided((precision_QK * relevant_QK).sum(axis=1), num_relevant_Q.astype(np.float64))


def ndcg_at_Q(gain_QK: Values, ideal_QK: Values, k: int) -> Values:
    """Give the discounted gain of the first k hits as a share of the best possible.

    Args:
        gain_QK: what each hit gives: 1 and 0 for binary relevance, a grade for graded; not negative.
        ideal_QK: the gains of all rows in falling order; at least the first k of them.

    Source: Jaervelin and Kekaelaeinen (2002), gain / log2(1 + rank), linear in the gain as in trec_eval and BEIR.
    """
    return _divided(_discounted_Q(gain_QK[:, :k]), _discounted_Q(ideal_QK[:, :k]))


def ideal_gain_QK(gain_QN: Values, k: int) -> Values:
    """Sort the gains of all rows as the best ranking would, the first k of them."""
    return np.asarray(-np.sort(-gain_QN, axis=1)[:, :k], dtype=np.float64)


def mean_of(values: Values) -> float | None:
    """Average what is defined; None if nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None


def _discounted_Q(gain_QK: Values) -> Values:
    return np.asarray(gain_QK @ (1 / np.log2(np.arange(2, gain_QK.shape[1] + 2))), dtype=np.float64)


def _divided(above_Q: Values, below_Q: Values) -> Values:
    return np.divide(above_Q, below_Q, out=np.full(len(above_Q), np.nan), where=below_Q > 0)


def bootstrap_interval(values: NDArray[np.float64], generator: np.random.Generator, rounds: int = 1000) -> tuple[float, float]:
    """Give the 95 % percentile interval of the mean of independent values.

    Source: Efron (1979), percentile bootstrap.
    """
    picks = generator.integers(0, len(values), size=(rounds, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def ratio_interval(above: Values, below: Values, generator: np.random.Generator, rounds: int = 1000) -> tuple[float, float] | None:
    """Give the 95 % percentile interval of mean(above) / mean(below), both measured on the same queries; None if a divisor is 0.

    Source: Efron (1979); a query is drawn with both its values, since they hang together.
    """
    picks = generator.integers(0, len(above), size=(rounds, len(above)))
    below_R = below[picks].mean(axis=1)
    if not (below_R > 0).all():
        return None
    low, high = np.percentile(above[picks].mean(axis=1) / below_R, [2.5, 97.5])
    return float(low), float(high)
