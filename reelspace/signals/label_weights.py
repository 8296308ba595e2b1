"""Label weights: rare and fresh labels weigh more in training.

weight = tf * idf * freshness, scaled to mean 1 within bounds. freshness = mean over the label's works of 2 ** (-age / half life), age being
the time from the last signal of the label on the work to `as_of`. There are two readings of TF-IDF, the settings' `mode`:
- works_as_documents: tf = 1, idf = ln(works with labels / works with this label).
- windows_as_documents: tf = works on which the label was seen in the current window, idf = ln(windows / windows in which it was seen), so
  that of two labels as frequent now the newer weighs more.
Signals after `as_of` are not used, and a label without any until then weighs 0.
Legend: L labels, E work-label entries, S signals. Source: the talk's wording "frequency and freshness"; weights of a multi-label loss.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelspace.signals.settings import WeightSettings
from reelspace.signals.vocabulary import Labels

_US_PER_DAY = 86_400e6
_SCALE_BITS = 64  # the scale is searched between 2 ** -64 and 2 ** 64
_SCALE_STEPS = 100
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class LabelWeights:
    """Weights of L labels and their factors; `tf_L` counts works in the current window in either mode."""

    idf_L: NDArray[np.float32]
    freshness_L: NDArray[np.float32]
    weight_L: NDArray[np.float32]
    tf_L: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Past:
    """What was known at a moment: S signals until then, and E entries they belong to; windows count back from 0, the current one."""

    labels: Labels
    entry_S: NDArray[np.int64]
    window_S: NDArray[np.int64]
    age_days_E: NDArray[np.float64]
    is_there_E: NDArray[np.bool_]

    def count_L(self, label: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.bincount(label, minlength=len(self.labels.texts)).astype(np.int64)


def label_weights(labels: Labels, as_of_us: int, settings: WeightSettings) -> LabelWeights:
    """Give the weight of every label as of a moment (microseconds)."""
    past = _past(labels, as_of_us, settings)
    label_there = labels.label_E[past.is_there_E]
    num_works_L = past.count_L(label_there)
    tf_L = past.count_L(labels.label_E[np.unique(past.entry_S[past.window_S == 0])])
    fresh = 2.0 ** (-past.age_days_E[past.is_there_E] / settings.half_life_days)
    freshness_L = np.bincount(label_there, weights=fresh, minlength=len(num_works_L)) / np.maximum(num_works_L, 1)
    if settings.mode == "works_as_documents":
        idf_L = _idf(len(np.unique(labels.work_E[past.is_there_E])), num_works_L)
        product_L = idf_L * freshness_L
    else:
        num_windows = int(past.window_S.max(initial=-1)) + 1
        idf_L = _idf(num_windows, _num_windows_L(past, num_windows))
        product_L = tf_L.astype(np.float64) * idf_L * freshness_L
    weight_L = np.zeros(len(product_L))
    weight_L[num_works_L > 0] = _scaled(product_L[num_works_L > 0], settings)
    return LabelWeights(_float32(idf_L), _float32(freshness_L), _float32(weight_L), tf_L)


def entry_weights(labels: Labels, weights: LabelWeights) -> NDArray[np.float32]:
    """Give w_ict of E entries, the weight of a label on a work: the label's weight times how sure the entry is."""
    return (weights.weight_L[labels.label_E] * labels.weight_E).astype(np.float32)


def _past(labels: Labels, as_of_us: int, settings: WeightSettings) -> _Past:
    known = labels.time_us_S <= as_of_us
    entry_S, age_days_S = labels.entry_S[known], (as_of_us - labels.time_us_S[known]) / _US_PER_DAY
    age_days_E = np.full(len(labels.label_E), np.inf)
    np.minimum.at(age_days_E, entry_S, age_days_S)
    window_S = np.floor(age_days_S / settings.window_days).astype(np.int64)
    return _Past(labels, entry_S, window_S, age_days_E, np.isfinite(age_days_E))


def _num_windows_L(past: _Past, num_windows: int) -> NDArray[np.int64]:
    seen = np.unique(past.labels.label_E[past.entry_S] * num_windows + past.window_S)
    return past.count_L(seen // max(num_windows, 1))


def _idf(num_documents: int, num_with_L: NDArray[np.int64]) -> NDArray[np.float64]:
    """ln(documents / documents with the label); 0 for a label in none, which has no weight."""
    idf_L: NDArray[np.float64] = np.log(max(num_documents, 1) / np.maximum(num_with_L, 1)) * (num_with_L > 0)
    return idf_L


def _scaled(product_L: NDArray[np.float64], settings: WeightSettings) -> NDArray[np.float64]:
    """Scale to mean 1 within the bounds.

    Where labels with a product above 0 are too few for that, they lie at the upper bound and the others share what is left.
    """
    if not product_L.any():
        return np.ones(len(product_L))
    product_L = product_L / product_L.mean()
    if settings.min_weight <= product_L.min() and product_L.max() <= settings.max_weight:
        return product_L
    low, high = -float(_SCALE_BITS), float(_SCALE_BITS)
    for _ in range(_SCALE_STEPS):
        middle = (low + high) / 2
        mean = np.clip(product_L * 2.0**middle, settings.min_weight, settings.max_weight).mean()
        low, high = (middle, high) if mean < 1 else (low, middle)
    weight_L: NDArray[np.float64] = np.clip(product_L * 2.0**high, settings.min_weight, settings.max_weight)
    is_below_L = weight_L < settings.max_weight
    if weight_L.mean() < 1 - _TOLERANCE:
        weight_L[is_below_L] = (len(weight_L) - settings.max_weight * int((~is_below_L).sum())) / int(is_below_L.sum())
    return weight_L


def _float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.round(5).astype(np.float32)
