"""Figures of an evaluation: the mean over queries beside its bootstrap interval."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from reelspace.core.rng import rng
from reelspace.evaluate.ranking import Values, bootstrap_interval, mean_of

INTERVAL: Final = "_interval"
Figures = dict[str, object]


def with_intervals(values: Mapping[str, Values], seed: int, group: str) -> Figures:
    """Give `<name>`, the mean over queries, and `<name>_interval`, its 95 % bootstrap interval by query.

    Args:
        values: figure name -> one value per query; NaN is not defined and left out.
        seed, group: name the draws, so that no figure's interval depends on which others are measured.

    Returns:
        None for both where no query has a value.
    """
    figures: Figures = {}
    for name, measured in values.items():
        defined = measured[~np.isnan(measured)]
        figures[name] = mean_of(defined)
        figures[name + INTERVAL] = bootstrap_interval(defined, rng(seed, "bootstrap", group, name)) if len(defined) else None
    return figures
