"""Missing labels: how often a work that a label fits carries it, and which works say nothing at all.

A label is absent from most works it fits because nobody tagged or searched; such an absence is no negative. The propensity of a label is
the probability that a relevant work carries it. Where enough works have the label from hashtags and from queries both, the two sources are
two captures of the relevant works, and their overlap tells how many there are (Lincoln and Petersen, in Chapman's form, 1951). It takes the
sources for independent given relevance: works that are popular in both make the estimate too high, wrong entries too low.
Elsewhere the frequency alone tells it (Jain, Prabhu and Varma, 2016, equation 2).
Legend: V works, L labels, E work-label entries.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reelspace.signals.settings import WeightSettings
from reelspace.signals.vocabulary import Labels

Method = Literal["overlap", "frequency"]


@dataclass(frozen=True, slots=True)
class Propensities:
    """Propensities of L labels, how each was told, and the works that have the label from both sources or from one at least."""

    propensity_L: NDArray[np.float32]
    method_L: tuple[Method, ...]
    num_both_L: NDArray[np.int64]
    num_tags_L: NDArray[np.int64]
    num_queries_L: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LabelMasks:
    """Which of V works have a label from hashtags, and which from queries; with neither, every label is missing, none is negative."""

    has_tags_V: NDArray[np.bool_]
    has_queries_V: NDArray[np.bool_]

    def all_missing_V(self) -> NDArray[np.bool_]:
        """Works whose absent labels say nothing."""
        return ~(self.has_tags_V | self.has_queries_V)


def label_masks(labels: Labels, num_works: int) -> LabelMasks:
    """Tell which works any source has labelled."""
    has_tags_V, has_queries_V = np.zeros(num_works, dtype=bool), np.zeros(num_works, dtype=bool)
    has_tags_V[labels.work_E[labels.from_tags_E]] = True
    has_queries_V[labels.work_E[labels.from_queries_E]] = True
    return LabelMasks(has_tags_V, has_queries_V)


def label_propensities(labels: Labels, num_works: int, settings: WeightSettings) -> Propensities:
    """Estimate the propensity of every label, above 0 and at most 1."""
    is_both_E = labels.from_tags_E & labels.from_queries_E
    num_both_L = np.bincount(labels.label_E[is_both_E], minlength=len(labels.texts)).astype(np.int64)
    num_tags_L, num_queries_L = labels.num_tag_works_L, labels.num_query_works_L
    by_frequency_L = propensity_by_frequency(labels.num_works_L(), num_works, settings.propensity_slope, settings.propensity_offset)
    by_overlap_L = propensity_by_overlap(num_both_L, num_tags_L, num_queries_L, num_works)
    enough_L = num_both_L >= settings.min_both_works
    methods: tuple[Method, ...] = tuple("overlap" if enough else "frequency" for enough in enough_L.tolist())
    propensity_L = np.where(enough_L, by_overlap_L, by_frequency_L).round(5).astype(np.float32)
    return Propensities(propensity_L, methods, num_both_L, num_tags_L, num_queries_L)


def propensity_by_overlap(
    num_both_L: NDArray[np.int64], num_tags_L: NDArray[np.int64], num_queries_L: NDArray[np.int64], num_works: int
) -> NDArray[np.float64]:
    """Works with the label over the relevant works that the overlap of two sources implies; these are at most all works.

    Source: Chapman, 1951: relevant works = (tags + 1)(queries + 1) / (both + 1) - 1, nearly unbiased where Lincoln-Petersen is not.
    """
    num_carrying_L = (num_tags_L + num_queries_L - num_both_L).astype(np.float64)
    num_relevant_L = (num_tags_L + 1.0) * (num_queries_L + 1.0) / (num_both_L + 1.0) - 1.0
    num_relevant_L = np.clip(num_relevant_L, num_carrying_L, max(float(num_works), 1.0))
    propensity_L: NDArray[np.float64] = num_carrying_L / np.maximum(num_relevant_L, 1.0)
    return propensity_L


def propensity_by_frequency(num_works_L: NDArray[np.int64], num_works: int, slope: float, offset: float) -> NDArray[np.float64]:
    """1 / (1 + C exp(-A ln(n + B))) of a label on n works, C = (ln(works) - 1)(B + 1)^A.

    Source: Jain, Prabhu and Varma, 2016, equation 2; A = 0.55 and B = 1.5 are theirs for data that nobody measured.
    """
    scale = max(np.log(max(num_works, 1)) - 1.0, 0.0) * (offset + 1.0) ** slope
    propensity_L: NDArray[np.float64] = 1.0 / (1.0 + scale * np.exp(-slope * np.log(np.maximum(num_works_L + offset, 1e-9))))
    return propensity_L


def negative_weights(propensities: Propensities, num_works: int) -> NDArray[np.float32]:
    """Give, for each label, the probability that a work without it is one it does not fit: the weight of that negative in a loss.

    With r the share of works the label fits and p its propensity: (1 - r) / (1 - r p), by Bayes.
    """
    propensity_L = propensities.propensity_L.astype(np.float64)
    num_carrying_L = propensities.num_tags_L + propensities.num_queries_L - propensities.num_both_L
    carrying_share_L = num_carrying_L / max(num_works, 1)
    relevant_share_L = np.minimum(carrying_share_L / np.maximum(propensity_L, 1e-9), 1.0)
    weight_L: NDArray[np.float64] = (1.0 - relevant_share_L) / np.maximum(1.0 - carrying_share_L, 1e-9)
    return weight_L.round(5).astype(np.float32)
