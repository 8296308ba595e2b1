"""Shares with their 95 % interval."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Share:
    """A share of `count` cases; None and the whole range for no case."""

    value: float | None
    low: float
    high: float
    count: int


def share_of(cases: NDArray[np.bool_]) -> Share:
    """Give the share of true cases with the Wilson score interval (Wilson 1927), which holds for few cases too."""
    count = len(cases)
    if count == 0:
        return Share(None, 0.0, 1.0, 0)
    value = float(cases.mean())
    centre = (value + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * (value * (1 - value) / count + _Z**2 / (4 * count**2)) ** 0.5
    return Share(round(value, 6), round(max(0.0, centre - half), 6), round(min(1.0, centre + half), 6), count)
