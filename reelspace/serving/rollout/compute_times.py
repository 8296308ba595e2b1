"""How long a candidate computes beside the stable version, by Triton's own clock.

No queue is part of it: the stable version has most of the load and so the longer queue, beside which a slow candidate looks fast.
"""

import math
from collections.abc import Mapping
from statistics import median
from typing import Final, TypeAlias

from reelspace.serving.rollout.gates import Gates
from reelspace.serving.rollout.judge import PASSES, Verdict

MIN_SAME_SIZE: Final = 3
WINDOW_EXECUTIONS: Final = 5
MIN_WINDOWS: Final = 5
MAX_WINDOWS: Final = 40
"""So many are looked at before what still cannot be compared counts as too slow."""

BatchTimes: TypeAlias = Mapping[int, tuple[int, float]]
"""Executions and the seconds that they computed, all together, by batch size."""


class ComputeTimes:
    """Times of one stage, in windows of a few executions; their median counts, so that one hiccup of the machine does not.

    A busy stable version may never have batches as small as the candidate's. Then the sizes that both had decide, and where `lacks_sizes`
    says so somebody must see to it that there are such.
    """

    def __init__(self, gates: Gates) -> None:
        self._gates = gates
        self._before: tuple[BatchTimes, BatchTimes] | None = None
        self._slowdowns: list[tuple[float, float]] = []
        self._at_same_sizes: list[float] = []

    def look(self, candidate: BatchTimes, stable: BatchTimes) -> None:
        """Take what both versions computed since they were loaded."""
        if self._before is None or not (_goes_on(candidate, self._before[0]) and _goes_on(stable, self._before[1])):
            self._before = candidate, stable  # the first look, or one was loaded anew
            return
        window, usual = _since(candidate, self._before[0]), _since(stable, self._before[1])
        if sum(count for count, _ in window.values()) >= WINDOW_EXECUTIONS:
            self._slowdowns.append(slowdown(window, usual, self._gates.slack_s))
            same = {size: times for size, times in window.items() if usual.get(size, (0, 0.0))[0] >= MIN_SAME_SIZE}
            if same:
                self._at_same_sizes.append(slowdown(same, usual, self._gates.slack_s)[0])
            # The stable version's times add up over the stage: the more batch sizes it had, the better it compares.
            self._before = candidate, self._before[1]

    @property
    def lacks_sizes(self) -> bool:
        """Tell whether only batches of sizes that both versions have can still decide."""
        if len(self._slowdowns) < MIN_WINDOWS or len(self._at_same_sizes) >= MIN_WINDOWS:
            return False
        least, most = self._bounds()
        return least <= self._gates.max_slowdown < most

    def verdict(self) -> Verdict:
        """Judge what was looked at until now."""
        if len(self._slowdowns) < MIN_WINDOWS:
            return Verdict("undecided", f"{len(self._slowdowns)} of {MIN_WINDOWS} windows of {WINDOW_EXECUTIONS} executions were timed")
        most_asked = self._gates.max_slowdown
        least, most = self._bounds()
        if least <= most_asked < most and len(self._at_same_sizes) >= MIN_WINDOWS:
            least = most = median(self._at_same_sizes)
        if least > most_asked:
            asked = f"at most {most_asked:g} times is asked"
            return Verdict("fails", f"it computes {least:.1f} times as long as the stable version or more, {asked}")
        if most > most_asked:
            sizes = "had no batches of the candidate's sizes to compare times with"
            if len(self._slowdowns) < MAX_WINDOWS:
                return Verdict("undecided", f"the stable version {sizes}")
            return Verdict(
                "fails", f"it may compute {most:.1f} times as long as the stable version, which {sizes}; {most_asked:g} are asked"
            )
        return PASSES

    def _bounds(self) -> tuple[float, float]:
        least, most = (median(ends) for ends in zip(*self._slowdowns, strict=True))
        return least, most


def slowdown(candidate: BatchTimes, stable: BatchTimes, slack_s: float = 0.0) -> tuple[float, float]:
    """Give how many times as long the candidate's executions took as the stable version's of the same batch size, at least and at most.

    The first `slack_s` of each of the candidate's executions do not count. Where the stable version had none of a size, its time is taken
    to grow with the size, and at most as fast as it.
    """
    least_s = most_s = taken_s = 0.0
    for size, (count, seconds) in candidate.items():
        low_s, high_s = _bounds_s(size, stable)
        least_s, most_s, taken_s = least_s + count * low_s, most_s + count * high_s, taken_s + max(0.0, seconds - count * slack_s)
    return taken_s / most_s if most_s else 0.0, taken_s / least_s if least_s else math.inf


def _bounds_s(size: int, stable: BatchTimes) -> tuple[float, float]:
    """Give the least and the most seconds that the stable version would take for a batch of a size."""
    means = {other: seconds / count for other, (count, seconds) in stable.items() if count >= MIN_SAME_SIZE}
    if size in means:
        return means[size], means[size]
    smaller = [(other, mean) for other, mean in means.items() if other < size]
    larger = [(other, mean) for other, mean in means.items() if other > size]
    least = [mean for _, mean in smaller] + [mean * size / other for other, mean in larger]
    most = [mean for _, mean in larger] + [mean * size / other for other, mean in smaller]
    low_s, high_s = max(least, default=0.0), min(most, default=math.inf)
    return min(low_s, high_s), max(low_s, high_s)


def _goes_on(now: BatchTimes, before: BatchTimes) -> bool:
    return all(now.get(size, (0, 0.0))[0] >= count for size, (count, _) in before.items())


def _since(now: BatchTimes, before: BatchTimes) -> BatchTimes:
    none = (0, 0.0)
    changes = {size: (count - before.get(size, none)[0], seconds - before.get(size, none)[1]) for size, (count, seconds) in now.items()}
    return {size: change for size, change in changes.items() if change[0]}
