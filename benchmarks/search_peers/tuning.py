"""The smallest effort with which a system finds what it should: systems are compared at equal recall."""

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
    """Give the first setting that reaches the target on some queries and then on all.

    Args:
        knobs: in rising effort, at least one.
        recall_of: the recall with a setting over that many queries.

    Returns:
        When none reaches the target, the one that found most on the first queries.
    """
    best, best_few = knobs[0], -1.0
    for knob in knobs:
        few = recall_of(knob, min(NUM_TUNING, num_queries))
        if few >= RECALL_TARGET and (recall := recall_of(knob, num_queries)) >= RECALL_TARGET:
            return Tuned(knob, recall)
        if few > best_few:
            best, best_few = knob, few
    return Tuned(best, recall_of(best, num_queries))
