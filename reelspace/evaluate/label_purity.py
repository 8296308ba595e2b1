"""Purity of label vectors: whether the labels nearest to a label are of its class, as a measure of how readable the label space is.

Legend: L labels, C those with a known class, E (label, work) pairs, D dimension.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelspace.evaluate.ranking import bootstrap_interval, exact_rows_QK, precision_Q

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class LabelPurity:
    """Mean purity, or gain of it, with its 95 % bootstrap interval over labels; None where fewer than two labels have a class."""

    value: float | None
    low: float | None
    high: float | None
    num_labels: int


def majority_classes(label_E: Ids, class_E: Ids, num_labels: int, min_share: float, min_works: int = 1) -> Ids:
    """Derive the class of each label from the classes of its works, one pair for each work that has the label.

    Args:
        class_E: class of the pair's work; pairs of works without a class, below 0, are left out.
        min_share: share of a label's pairs, 0 to 1, that its class must hold.
        min_works: pairs that a label must have.

    Returns:
        L classes, -1 for a label whose works agree too little, are too few, or are led by two classes alike.
    """
    inside = class_E >= 0
    pairs_P2, count_P = np.unique(np.stack([label_E[inside], class_E[inside]], axis=1), axis=0, return_counts=True)
    total_L, most_L = np.zeros(num_labels, dtype=np.int64), np.zeros(num_labels, dtype=np.int64)
    np.add.at(total_L, pairs_P2[:, 0], count_P)
    np.maximum.at(most_L, pairs_P2[:, 0], count_P)
    leads_P = count_P == most_L[pairs_P2[:, 0]]
    is_clear_L = np.bincount(pairs_P2[leads_P, 0], minlength=num_labels) == 1
    is_clear_L &= (most_L >= min_share * total_L) & (total_L >= min_works)
    class_L = np.full(num_labels, UNKNOWN, dtype=np.int64)
    class_L[pairs_P2[leads_P, 0]] = pairs_P2[leads_P, 1]
    class_L[~is_clear_L] = UNKNOWN
    return class_L


def purities_C(vectors_LD: Floats, class_L: Ids, k: int) -> NDArray[np.float64]:
    """Give each label of known class, in label order, the share of its k nearest labels that have the same class.

    Args:
        vectors_LD: of any length; nearest is by cosine, ties by label number; a zero vector is at cosine 0 of all.
        class_L: below 0 for unknown; such labels neither ask nor answer, since they could be neither right nor wrong.
        k: neighbours, at least 1; all others where a label has fewer.

    Returns:
        Empty where fewer than two labels have a class.

    Cost: O(C * C * D) time; the bootstrap of the figures below takes 16,000 bytes for each of C.
    """
    known_C = np.flatnonzero(class_L >= 0)
    k = min(k, len(known_C) - 1)
    if k < 1:
        return np.zeros(0)
    vectors_CD = np.asarray(vectors_LD[known_C], dtype=np.float32)
    vectors_CD = vectors_CD / np.maximum(np.linalg.norm(vectors_CD, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    class_C = class_L[known_C]
    nearest_CK = exact_rows_QK(vectors_CD, vectors_CD, k, own_rows_Q=np.arange(len(known_C)))
    return precision_Q(nearest_CK, class_C, class_C)


def label_purity(vectors_LD: Floats, class_L: Ids, k: int, generator: np.random.Generator) -> LabelPurity:
    """Average the purity over labels of known class; the arguments are those of `purities_C`."""
    return _averaged(purities_C(vectors_LD, class_L, k), generator)


def purity_gain(before_LD: Floats, after_LD: Floats, class_L: Ids, k: int, generator: np.random.Generator) -> LabelPurity:
    """Tell how much purer the second vectors of the same labels are; the interval is of the paired difference, so it is narrow."""
    return _averaged(purities_C(after_LD, class_L, k) - purities_C(before_LD, class_L, k), generator)


def chance_and_ceiling(class_L: Ids, k: int) -> tuple[float, float] | None:
    """Give the mean purity of random neighbours and the highest possible one, which small classes keep below 1.

    A label whose class has n labels finds at most n - 1 others of it. None where fewer than two labels have a class.
    """
    class_C = class_L[class_L >= 0]
    k = min(k, len(class_C) - 1)
    if k < 1:
        return None
    _, class_of_C, size = np.unique(class_C, return_inverse=True, return_counts=True)
    others_C = size[class_of_C] - 1
    return float((others_C / (len(class_C) - 1)).mean()), float((np.minimum(others_C, k) / k).mean())


def _averaged(purities: NDArray[np.float64], generator: np.random.Generator) -> LabelPurity:
    if not len(purities):
        return LabelPurity(None, None, None, 0)
    return LabelPurity(float(purities.mean()), *bootstrap_interval(purities, generator), len(purities))
