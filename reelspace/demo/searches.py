"""The search log: who typed what, what was shown, what was clicked and for how long.

Four works in five have queries whose clicks satisfied (long dwell, no return); 7 % of such pairs name a wrong topic. Every other
click is one that returns quickly or stays short. In 2 % of positions the shown work is drawn at random.
"""

from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np

from reelspace.core.rng import rng
from reelspace.demo.creators import FIRST_USER_ID
from reelspace.demo.latents import END_US, Work, World
from reelspace.demo.phrasings import WRONG_QUERY_SHARE, generic_query, query

QUERIED_SHARE = 0.82
RANDOMISED_SHARE = 0.02
SATISFIED_DWELL_MS = 7_000
_QUERIES_PER_WORK = (0.3, 0.4, 0.3)  # chance of 1, 2, 3
_NUM_POSITIONS = 8
_MEAN_DELAY_US = 0.7 * 86_400e6
_USERS_PER_WORK = 8
_GENERIC_AMONG_WRONG = 0.2
_STRAY_CLICK = 0.18  # chance that a work shown above the wanted one is clicked and left
_QUICK_RETURN = 0.7  # of stray clicks


@dataclass(frozen=True, slots=True)
class QueryPair:
    """One query that satisfied people with one work, and whether it names the wrong topic."""

    video_id: int
    query: str
    wrong: bool


@dataclass(frozen=True, slots=True)
class RandomisedPosition:
    """A place on a result page whose work was drawn at random."""

    search_id: int
    position: int


@dataclass(slots=True)
class _Search:
    user_id: int
    query: str
    searched_us: int
    reference: int | None
    shown: list[int]
    randomised: list[int]  # positions, from 1
    clicks: list[tuple[int, int, int, int | None]]  # video id, clicked, dwell ms, returned within ms


@dataclass(slots=True)
class SearchLog:
    """The log as columns, in the order of time."""

    searches: dict[str, list[object]] = field(default_factory=dict)
    impressions: dict[str, list[object]] = field(default_factory=dict)
    clicks: dict[str, list[object]] = field(default_factory=dict)
    pairs: list[QueryPair] = field(default_factory=list)
    randomised: list[RandomisedPosition] = field(default_factory=list)
    impression_times_us: list[int] = field(default_factory=list)


class _Shelf:
    """Works by time of upload, over all and by topic, so that a result page only shows what exists."""

    def __init__(self, works: tuple[Work, ...], num_topics: int) -> None:
        self._all = works
        self._all_times = [work.created_us for work in works]
        self._of_topic = [[work for work in works if work.topic == topic] for topic in range(num_topics)]
        self._topic_times = [[work.created_us for work in group] for group in self._of_topic]

    def any(self, draw: np.random.Generator, before_us: int) -> int:
        """A random work, uploaded before."""
        return self._all[int(draw.integers(max(1, bisect_left(self._all_times, before_us))))].video_id

    def of_topic(self, draw: np.random.Generator, topic: int, before_us: int) -> int:
        """A random work of a topic, uploaded before; of any topic if it has none yet."""
        num = bisect_left(self._topic_times[topic], before_us)
        return self._of_topic[topic][int(draw.integers(num))].video_id if num else self.any(draw, before_us)


def search_log(world: World) -> SearchLog:
    """Write the whole log; each work's searches come from a stream of its own."""
    shelf = _Shelf(world.works, len(world.topics))
    log = SearchLog()
    searches: list[_Search] = []
    for work in world.works:
        draw = rng(world.settings.seed, "searches", work.video_id)
        for pair, topic in _pairs(draw, world, work):
            log.pairs.append(pair)
            num_users = 2 + int(draw.poisson(min(40.0, 2 + 30 / (1 + work.popularity_rank) ** 0.5)))
            users = FIRST_USER_ID + draw.choice(_USERS_PER_WORK * len(world.works), num_users, replace=False)
            searches += [_search(draw, shelf, work, pair.query, topic, int(user)) for user in users]
    searches.sort(key=lambda search: (search.searched_us, search.user_id))
    _fill(log, searches)
    return log


def _pairs(draw: np.random.Generator, world: World, work: Work) -> list[tuple[QueryPair, int]]:
    """The queries that satisfy with a work, each with the topic that its result page is about."""
    if draw.random() >= QUERIED_SHARE:
        return []
    pairs: dict[str, tuple[QueryPair, int]] = {}
    for _ in range(1 + int(draw.choice(3, p=_QUERIES_PER_WORK))):
        language = work.language if draw.random() < 0.75 else "en" if work.language == "zh" else "zh"
        wrong = bool(draw.random() < WRONG_QUERY_SHARE)
        topic = int((work.topic + draw.integers(1, len(world.topics))) % len(world.topics)) if wrong else work.topic
        if wrong and draw.random() < _GENERIC_AMONG_WRONG:
            text = generic_query(draw, language)
        else:
            text = query(draw, world.topics[topic], int(draw.integers(3)) if wrong else work.subtopic, language)
        pairs.setdefault(text, (QueryPair(work.video_id, text, wrong), topic))
    return list(pairs.values())


def _search(draw: np.random.Generator, shelf: _Shelf, work: Work, text: str, topic: int, user_id: int) -> _Search:
    """One search that ends at the work: a result page around it, stray clicks above it and the satisfied one."""
    delay_us = float(draw.exponential(_MEAN_DELAY_US))
    left_us = END_US - 60_000_000 - work.created_us
    searched_us = work.created_us + int(delay_us if delay_us < left_us else draw.random() * max(left_us, 1))
    wanted = min(_NUM_POSITIONS, int(draw.geometric(0.4)))
    reference = shelf.any(draw, searched_us) if draw.random() < 0.05 else None
    search = _Search(user_id, text, searched_us, reference, [], [], [])
    clock_us = searched_us
    for position in range(1, _NUM_POSITIONS + 1):
        chance = draw.random(3)
        if position == wanted:
            clock_us += int(2_000_000 + 3_000_000 * chance[1])
            dwell_ms = SATISFIED_DWELL_MS + 200 + int(min(60_000, draw.lognormal(9.0, 0.6)))
            search.shown.append(work.video_id)
            search.clicks.append((work.video_id, clock_us, dwell_ms, None))
            continue
        if chance[0] < RANDOMISED_SHARE:
            search.randomised.append(position)
            shown = shelf.any(draw, searched_us)
        else:
            shown = shelf.of_topic(draw, topic, searched_us) if chance[0] < 0.75 else shelf.any(draw, searched_us)
        if shown == work.video_id or shown in search.shown:
            search.shown.append(-1)
            continue
        search.shown.append(shown)
        if position < wanted and chance[1] < _STRAY_CLICK:
            clock_us += int(2_000_000 + 2_000_000 * chance[2])
            quick = draw.random() < _QUICK_RETURN
            dwell_ms = int(draw.uniform(300, 2_500) if quick else draw.uniform(2_500, 6_000))
            search.clicks.append((shown, clock_us, dwell_ms, dwell_ms + 200 if quick else None))
            clock_us += dwell_ms * 1_000
    return search


def _fill(log: SearchLog, searches: list[_Search]) -> None:
    for table, names in (
        (log.searches, ("search_id", "user_id", "query", "searched_at", "reference_video_id")),
        (log.impressions, ("search_id", "video_id", "position")),
        (log.clicks, ("search_id", "video_id", "clicked_at", "dwell_ms", "returned_within_ms")),
    ):
        table.update({name: [] for name in names})
    for search_id, search in enumerate(searches, start=1):
        _append(log.searches, search_id, search.user_id, search.query, search.searched_us, search.reference)
        for position, video_id in enumerate(search.shown, start=1):
            if video_id < 0:  # a repeated result leaves its place empty
                continue
            _append(log.impressions, search_id, video_id, position)
            log.impression_times_us.append(search.searched_us)
            if position in search.randomised:
                log.randomised.append(RandomisedPosition(search_id, position))
        for click in search.clicks:
            _append(log.clicks, search_id, *click)


def _append(table: dict[str, list[object]], *values: object) -> None:
    for column, value in zip(table.values(), values, strict=True):
        column.append(value)
