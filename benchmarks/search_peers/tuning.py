"""The smallest effort with which a system finds what it should: systems are compared at equal recall."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.search_peers.system import Knob

RECALL_TARGET: Final = 0.95
NUM_TUNING: Final = 150


@dataclass(frozen=True, slots=True)
class Tuned:
    """A setting and the recall at 10 that all queries have with it."""

    knob: Knob
    recall: float

    @property
    def reaches(self) -> bool:
        """Whether the recall is the target or more."""
        return self.recall >= RECALL_TARGET


def fastest(
    ladders: Sequence[Sequence[Knob]], num_queries: int, recall_of: Callable[[Knob, int], float], clock: Callable[[], float]
) -> Tuned:
    """Give the smallest setting of the way that answers the first queries in the least time, among the ways that reach the target.

    Args:
        ladders: one or more ways, each as `smallest` takes it.

    Returns:
        When none reaches the target, the one with the highest recall.
    """
    tuned = [smallest(ladder, num_queries, recall_of) for ladder in ladders]
    reaching = [one for one in tuned if one.reaches]
    if len(reaching) < 2:
        return max(tuned, key=lambda one: one.recall)

    def seconds(one: Tuned) -> float:
        begun_s = clock()
        recall_of(one.knob, min(NUM_TUNING, num_queries))
        return clock() - begun_s

    return min(reaching, key=seconds)


def smallest(knobs: Sequence[Knob], num_queries: int, recall_of: Callable[[Knob, int], float]) -> Tuned:
    """Give the first setting that reaches the target on some queries and then on all, found by halving: few settings are tried.

    Args:
        knobs: in rising effort, at least one; more effort finds no less.
        recall_of: the recall with a setting over that many queries.

    Returns:
        When none reaches the target, the one of those tried that found most on the first queries.
    """
    few: dict[int, float] = {}

    def reaches(place: int) -> bool:
        few[place] = recall_of(knobs[place], min(NUM_TUNING, num_queries))
        return few[place] >= RECALL_TARGET

    for place in range(bisect_left(range(len(knobs)), True, key=reaches), len(knobs)):
        if (recall := recall_of(knobs[place], num_queries)) >= RECALL_TARGET:
            return Tuned(knobs[place], recall)
    best = knobs[max(few, key=lambda place: few[place])]
    return Tuned(best, recall_of(best, num_queries))
