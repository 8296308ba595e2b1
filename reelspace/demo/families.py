"""Which works belong together: background-swapped twins, re-uploads, series; and which files are broken.

A pair never straddles the cut-off day: of the twins, `num_late_twins` have both works on or after it (the twin score is measured on
those, since twins of works the model was trained on would flatter it), the others have both works before it. Late twins show topics that
are older than the cut-off: a newborn topic's twin would measure how new the topic is, not whether the background misleads.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reelspace.core.rng import rng
from reelspace.demo.presets import CUTOFF_DAY, WorldSettings

SERIES_LENGTH = 3
Broken = Literal["truncated", "garbage", "empty"]
BROKEN: tuple[Broken, ...] = ("truncated", "garbage", "empty")


@dataclass(frozen=True, slots=True)
class Families:
    """Kinship by row; N works in the order of upload."""

    twin_of: dict[int, int]
    near_duplicate_of: dict[int, int]
    series_N: NDArray[np.int64]  # -1: none
    broken: dict[int, Broken]
    look_N: NDArray[np.int64]  # the row whose foreground a work shows; its own for most


def families(settings: WorldSettings, topic_N: NDArray[np.int64], day_N: NDArray[np.int64]) -> Families:
    """Choose disjoint families of works that share a topic; the earliest upload is the original."""
    late_N = day_N >= CUTOFF_DAY
    free_N = np.ones(len(topic_N), dtype=bool)
    broken = _broken(settings, late_N, free_N)
    old_N = ~np.isin(topic_N, [topic for topic, _ in settings.newborn_days])
    late_twins = _groups(settings, "late twins", 2, settings.num_late_twins, topic_N, free_N & late_N & old_N)
    _take(free_N, late_twins)
    early_twins = _groups(settings, "early twins", 2, settings.num_twins - len(late_twins), topic_N, free_N & ~late_N)
    _take(free_N, early_twins)
    num_near = round(settings.near_duplicate_share * settings.num_works)
    near = _groups(settings, "near duplicates", 2, num_near, topic_N * 2 + late_N, free_N)
    _take(free_N, near)
    num_series = round(settings.series_share * settings.num_works / SERIES_LENGTH)
    series = _groups(settings, "series", SERIES_LENGTH, num_series, topic_N, free_N)
    look_N = np.arange(len(topic_N))
    for original, copy in [*late_twins, *early_twins, *near]:
        look_N[copy] = original
    series_N = np.full(len(topic_N), -1)
    for number, members in enumerate(series):
        series_N[list(members)] = number
    return Families(
        twin_of={copy: original for original, copy in [*late_twins, *early_twins]},
        near_duplicate_of={copy: original for original, copy in near},
        series_N=series_N,
        broken=broken,
        look_N=look_N,
    )


def _broken(settings: WorldSettings, late_N: NDArray[np.bool_], free_N: NDArray[np.bool_]) -> dict[int, Broken]:
    rows = rng(settings.seed, "broken").choice(np.flatnonzero(~late_N), 3, replace=False)
    free_N[rows] = False
    return {int(row): how for row, how in zip(rows, BROKEN, strict=True)}


def _groups(
    settings: WorldSettings, name: str, size: int, num: int, key_N: NDArray[np.int64], eligible_N: NDArray[np.bool_]
) -> list[tuple[int, ...]]:
    """At most `num` groups of `size` rows with the same key, each sorted by time of upload."""
    draw = rng(settings.seed, "family", name)
    candidates: list[tuple[int, ...]] = []
    for key in range(int(key_N.max()) + 1):
        rows = draw.permutation(np.flatnonzero(eligible_N & (key_N == key)))
        whole = rows[: len(rows) // size * size].reshape(-1, size)
        candidates += [tuple(sorted(int(row) for row in group)) for group in whole]
    chosen = draw.permutation(len(candidates))[:num]
    return [candidates[index] for index in chosen]


def _take(free_N: NDArray[np.bool_], groups: list[tuple[int, ...]]) -> None:
    for group in groups:
        free_N[list(group)] = False
