"""Category entropy: over how many categories a tag or a word is spread, corrected for rare ones.

Legend: U uses, T tags (or words), V works.
"""

import numpy as np
from numpy.typing import NDArray


def category_spread(
    tag_U: NDArray[np.int64], category_U: NDArray[np.int64], num_tags: int, category_V: NDArray[np.int64], shrinkage: float
) -> NDArray[np.float64]:
    """Give, per tag, the entropy of the categories of its works, as a share of the entropy over all works.

    The entropy of few uses is biased down (a single use has none), so it gets the Miller-Madow correction (Miller 1955: plus
    (categories seen - 1) / 2n) and is then shrunk towards the mean over all uses, which counts for `shrinkage` uses.

    Args:
        category_U: category of the work of each use, -1 if unknown (such uses are left out).
        category_V: categories of all works, -1 if unknown.

    Returns:
        0 (one category) to 1 (spread as works are); all nan when works have fewer than two categories.
    """
    known_U = category_U >= 0
    num_categories = int(category_V.max(initial=-1)) + 1
    if num_categories < 2 or not known_U.any():
        return np.full(num_tags, np.nan)
    counts_TC = np.zeros((num_tags, num_categories))
    np.add.at(counts_TC, (tag_U[known_U], category_U[known_U]), 1.0)
    prior_C = np.bincount(category_V[category_V >= 0], minlength=num_categories).astype(np.float64)
    num_T = counts_TC.sum(axis=1)
    entropy_T = _entropy(counts_TC)
    correction_T = np.divide((counts_TC > 0).sum(axis=1) - 1, 2 * num_T, out=np.zeros(num_tags), where=num_T > 0)
    spread_T = np.clip((entropy_T + correction_T) / max(float(_entropy(prior_C[None])[0]), 1e-9), 0.0, 1.0)
    mean = float((spread_T * num_T).sum() / num_T.sum())
    return np.asarray((num_T * spread_T + shrinkage * mean) / np.maximum(num_T + shrinkage, 1e-9))


def _entropy(counts_TC: NDArray[np.float64]) -> NDArray[np.float64]:
    total_T = np.maximum(counts_TC.sum(axis=1, keepdims=True), 1e-9)
    share_TC = counts_TC / total_T
    logs_TC = np.log(share_TC, out=np.zeros_like(share_TC), where=share_TC > 0)
    return np.asarray(-(share_TC * logs_TC).sum(axis=1))
