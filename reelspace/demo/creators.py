"""Who uploads: creators with favourite topics, habits of tagging and a language."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelspace.core.rng import rng
from reelspace.demo.presets import WorldSettings
from reelspace.demo.topics import Topic

FIRST_CREATOR_ID = 10_000
FIRST_USER_ID = 1_000_000
_WORKS_PER_CREATOR = 6
_OUTSIDE_SHARE = 0.12  # works that their creator uploads outside of the favourite topics


@dataclass(frozen=True, slots=True)
class Creator:
    """One creator; ids are all that is known about a person here."""

    creator_id: int
    topics: tuple[int, ...]
    tag_rate: float  # relative
    stuffs_tags: bool  # puts the same unrelated tags under every work


def creators(settings: WorldSettings, catalogue: tuple[Topic, ...]) -> tuple[Creator, ...]:
    """Make about one creator per six works, at least two per topic."""
    num = max(2 * settings.num_topics, settings.num_works // _WORKS_PER_CREATOR)
    draw = rng(settings.seed, "creators")
    ids = FIRST_CREATOR_ID + draw.permutation(num)
    return tuple(_creator(draw, int(ids[index]), index, catalogue) for index in range(num))


def _creator(draw: np.random.Generator, creator_id: int, index: int, catalogue: tuple[Topic, ...]) -> Creator:
    favourite = index % len(catalogue)
    area = [topic.topic for topic in catalogue if topic.area == catalogue[favourite].area and topic.topic != favourite]
    others = draw.permutation(area)[: int(draw.integers(0, 3))]
    return Creator(
        creator_id=creator_id,
        topics=(favourite, *(int(topic) for topic in others)),
        tag_rate=float(draw.gamma(2.0, 0.5)),
        stuffs_tags=bool(draw.random() < 0.15),
    )


def creators_of_works(
    settings: WorldSettings, people: tuple[Creator, ...], topic_N: NDArray[np.int64], series_N: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Give each work's creator id: busy creators upload more, a series has one creator."""
    draw = rng(settings.seed, "creator of work")
    activity = 1.0 / np.arange(1, len(people) + 1) ** 0.5
    activity = activity[draw.permutation(len(people))]
    ids = np.array([creator.creator_id for creator in people])
    everyone = activity / activity.sum()
    chosen_N = np.empty(len(topic_N), dtype=np.int64)
    outside_N = draw.random(len(topic_N)) < _OUTSIDE_SHARE
    for topic in range(settings.num_topics):
        fans = np.flatnonzero([topic in creator.topics for creator in people])
        rows = np.flatnonzero((topic_N == topic) & ~outside_N)
        chosen_N[rows] = ids[draw.choice(fans, len(rows), p=activity[fans] / activity[fans].sum())]
    chosen_N[outside_N] = ids[draw.choice(len(people), int(outside_N.sum()), p=everyone)]
    for number in range(int(series_N.max()) + 1):
        members = np.flatnonzero(series_N == number)
        chosen_N[members] = chosen_N[members[0]]
    return chosen_N
