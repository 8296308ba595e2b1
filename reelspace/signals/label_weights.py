"""Label weights: rare and fresh labels weigh more in training.

weight = idf * freshness, scaled to mean 1 and cut. idf = ln(works with labels / works with this label); freshness = mean over the label's
works of 2 ** (-age / half life), age being the time from the last signal of the label on the work to `as_of`.
Legend: L labels, E work-label entries.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelspace.signals.settings import WeightSettings
from reelspace.signals.vocabulary import Labels

_US_PER_DAY = 86_400e6


@dataclass(frozen=True, slots=True)
class LabelWeights:
    """Weights of L labels and their two factors."""

    idf_L: NDArray[np.float32]
    freshness_L: NDArray[np.float32]
    weight_L: NDArray[np.float32]


def label_weights(labels: Labels, as_of_us: int, settings: WeightSettings) -> LabelWeights:
    """Give the weight of every label as of a moment (microseconds)."""
    num_works_L = labels.num_works_L()
    num_labelled = len(np.unique(labels.work_E))
    idf_L = np.log(num_labelled / np.maximum(num_works_L, 1)) if num_labelled else np.zeros(len(num_works_L))
    age_days_E = np.maximum(as_of_us - labels.last_us_E, 0) / _US_PER_DAY
    fresh_E = 2.0 ** (-age_days_E / settings.half_life_days)
    freshness_L = np.bincount(labels.label_E, weights=fresh_E, minlength=len(num_works_L)) / np.maximum(num_works_L, 1)
    product_L = idf_L * freshness_L
    mean = float(product_L.mean()) if len(product_L) else 0.0
    weight_L = np.minimum(product_L / mean, settings.max_weight) if mean > 0 else np.ones(len(product_L))
    return LabelWeights(_float32(idf_L), _float32(freshness_L), _float32(weight_L))


def _float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.round(5).astype(np.float32)
