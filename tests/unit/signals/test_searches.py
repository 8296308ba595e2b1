"""Searches: satisfied pairs, skips and negatives against plain loops; positions, spellings and confidence against known truth."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelspace.signals import tables
from reelspace.signals.search_tables import SearchSignals, read_searches
from reelspace.signals.searches import PositionCounts, click_weights, examination, pair_confidence, spelling_heads
from reelspace.signals.settings import SearchSettings

WriteTables = Callable[..., Path]
DAY = datetime(2025, 1, 1, tzinfo=UTC)
SETTINGS = SearchSettings(satisfied_dwell_ms=7_000, quick_return_ms=5_000, min_users=2, min_skips=3)
MOMENTS = [None, DAY + timedelta(hours=50)]


def normal(query: str) -> str:
    """A small normal form."""
    return query.strip(" !?").casefold().replace("貓", "猫")


@dataclass(frozen=True)
class Log:
    """A small log as rows; work 6 is unknown."""

    directory: Path
    searches: dict[int, dict[str, Any]]
    clicks: list[dict[str, Any]]
    impressions: list[dict[str, Any]]

    def seen_clicks(self, as_of: datetime | None) -> list[dict[str, Any]]:
        """The clicks whose stay lies before."""
        return [click for click in self.clicks if as_of is None or click["clicked_at"] + timedelta(milliseconds=click["dwell_ms"]) < as_of]

    def search(self, search_id: int, as_of: datetime | None) -> dict[str, Any] | None:
        """The search, if it lies before and has words."""
        search = self.searches[search_id]
        return search if normal(search["query"]) and (as_of is None or search["searched_at"] < as_of) else None

    def satisfied(self, as_of: datetime | None) -> dict[tuple[int, str], list[dict[str, Any]]]:
        """The satisfied clicks of each pair, each with its user."""
        out: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
        for click in self.seen_clicks(as_of):
            search, back_ms = self.search(click["search_id"], as_of), click["returned_within_ms"]
            if search and click["video_id"] != 6 and click["dwell_ms"] >= 7_000 and (back_ms is None or back_ms > 5_000):
                out[click["video_id"], normal(search["query"])].append(click | {"user_id": search["user_id"]})
        return out


@pytest.fixture
def log(write_tables: WriteTables) -> Log:
    """Three hundred searches, each with five results and up to two clicks; one work is never clicked."""
    draw = np.random.default_rng(5)
    searches, clicks, impressions = [], [], []
    for number in range(300):
        searched_at = DAY + timedelta(hours=int(draw.integers(100)))
        query = str(draw.choice(["Cat", "cat ", "猫", "貓!", "?"]))
        searches.append({"search_id": number, "user_id": int(draw.integers(6)), "query": query, "searched_at": searched_at})
        shown = draw.permutation(np.arange(1, 8))[:5].tolist()
        impressions += [{"search_id": number, "video_id": video_id, "position": place} for place, video_id in enumerate(shown, start=1)]
        clickable = [video_id for video_id in shown if video_id != 7]
        clicks += [
            {
                "search_id": number,
                "video_id": int(video_id),
                "clicked_at": searched_at + timedelta(seconds=int(draw.integers(60))),
                "dwell_ms": int(draw.choice([100, 6_999, 7_000, 30_000])),
                "returned_within_ms": [None, 4_000, 5_000, 5_001][int(draw.integers(4))],
            }
            for video_id in draw.choice(clickable, 2, replace=False)
        ]
    videos = [{"video_id": video_id} for video_id in (1, 2, 3, 4, 5, 7)]
    directory = write_tables(videos=videos, searches=searches, clicks=clicks)
    return Log(directory, {search["search_id"]: search for search in searches}, clicks, impressions)


def write_impressions(log: Log) -> None:
    """Write the table of impressions; without it nothing is known of positions."""
    types = {"search_id": pa.int64(), "video_id": pa.int64(), "position": pa.int32()}
    table = {name: pa.array([row[name] for row in log.impressions], type=kind) for name, kind in types.items()}
    pq.write_table(pa.table(table), log.directory / "impressions.parquet")


def read(log: Log, as_of: datetime | None, settings: SearchSettings = SETTINGS) -> SearchSignals:
    """Read the log."""
    return read_searches(log.directory, tables.read_works(log.directory, None), normal, settings, as_of)


@pytest.mark.parametrize("as_of", MOMENTS)
def test_satisfied_pairs_equal_a_plain_loop(log: Log, as_of: datetime | None) -> None:
    signals = read(log, as_of)
    pairs = signals.pairs
    found = {
        key: numbers
        for key, *numbers in zip(
            zip(pairs.video_ids_P.tolist(), pairs.queries, strict=True),
            pairs.num_users_P.tolist(),
            pairs.num_clicks_P.tolist(),
            pairs.first_us_P.tolist(),
            pairs.last_us_P.tolist(),
            strict=True,
        )
    }
    wanted = {}
    for pair, clicks in log.satisfied(as_of).items():
        users = {click["user_id"] for click in clicks}
        times_us = [round(click["clicked_at"].timestamp() * 1e6) for click in clicks]
        if len(users) >= 2:
            wanted[pair] = [len(users), len(clicks), min(times_us), max(times_us)]
    assert len(wanted) > 5
    assert found == wanted
    assert np.array_equal(pairs.weighted_clicks_P, pairs.num_clicks_P)
    order = list(zip(pairs.video_ids_P.tolist(), (-pairs.num_users_P).tolist(), pairs.queries, strict=True))
    assert order == sorted(order)
    counts = [stage.count for stage in signals.pair_funnel]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == len(log.seen_clicks(as_of))
    assert counts[-3] == sum(map(len, log.satisfied(as_of).values()))
    assert counts[-2:] == [len(log.satisfied(as_of)), len(wanted)]


@pytest.mark.parametrize("as_of", MOMENTS)
def test_skips_and_negatives_equal_a_plain_loop(log: Log, as_of: datetime | None) -> None:
    write_impressions(log)
    signals = read(log, as_of)
    clicked = {(click["search_id"], click["video_id"]) for click in log.seen_clicks(as_of)}
    position = {(row["search_id"], row["video_id"]): row["position"] for row in log.impressions}
    lowest: dict[int, int] = {}
    for shown in clicked & position.keys():
        lowest[shown[0]] = max(lowest.get(shown[0], 0), position[shown])
    skippers: dict[tuple[int, str], list[int]] = defaultdict(list)
    for shown, place in position.items():
        search = log.search(shown[0], as_of)
        if search and shown[1] != 6 and shown not in clicked and place < lowest.get(shown[0], 0):
            skippers[shown[1], normal(search["query"])].append(search["user_id"])
    pairs, negatives, satisfied = signals.pairs, signals.negatives, log.satisfied(as_of)
    keys = list(zip(pairs.video_ids_P.tolist(), pairs.queries, strict=True))
    assert pairs.num_skips_P.tolist() == [len(skippers[key]) for key in keys]
    assert sum(pairs.num_skips_P) > 0
    found = list(
        zip(negatives.video_ids_N.tolist(), negatives.queries, negatives.num_skips_N.tolist(), negatives.num_users_N.tolist(), strict=True)
    )
    wanted = [
        (*pair, len(users), len(set(users)))
        for pair, users in sorted(skippers.items())
        if len(users) >= 3 and len(set(users)) >= 2 and pair not in satisfied
    ]
    assert {row[0] for row in wanted} == {7}
    assert found == wanted
    assert signals.skip_funnel[1].count == sum(map(len, skippers.values()))
    assert signals.skip_funnel[-1].count == len(wanted)


def test_a_click_weighs_what_its_position_makes_it_worth(log: Log) -> None:
    write_impressions(log)
    signals = read(log, None)
    weights_K = np.rint(click_weights(signals.examination_K, SETTINGS) * 1_000) / 1_000
    position = {(row["search_id"], row["video_id"]): row["position"] for row in log.impressions}
    wanted = {
        pair: sum(weights_K[position[click["search_id"], click["video_id"]] - 1] for click in clicks)
        for pair, clicks in log.satisfied(None).items()
    }
    pairs = signals.pairs
    assert pairs.weighted_clicks_P.tolist() == pytest.approx(
        [wanted[key] for key in zip(pairs.video_ids_P.tolist(), pairs.queries, strict=True)]
    )
    assert (pairs.weighted_clicks_P > pairs.num_clicks_P).any()


def _harvest(looks_K: np.ndarray, num_pairs: int) -> tuple[PositionCounts, np.ndarray]:
    """Clicks of a known position model, better works higher up; and the plain click rate of each position."""
    draw, num = np.random.default_rng(1), len(looks_K)
    rates_KK, clicks_KK = np.zeros((num, num)), np.zeros((num, num), dtype=np.int64)
    shown_K, clicked_K = np.zeros(num), np.zeros(num)
    for _ in range(num_pairs):
        relevance = draw.uniform(0.05, 0.9)
        usual = (1 - relevance) * num  # what is worse usually stands lower
        places = np.unique(np.clip(np.rint(draw.normal(usual, 1.5, 2)), 0, num - 1).astype(int))
        clicks = draw.binomial(20, relevance * looks_K[places])
        shown_K[places] += 20
        clicked_K[places] += clicks
        if len(places) == 2:
            for one, other in ((0, 1), (1, 0)):
                rates_KK[places[one], places[other]] += clicks[one] / 20
                clicks_KK[places[one], places[other]] += clicks[one]
    return PositionCounts(rates_KK, clicks_KK), clicked_K / np.maximum(shown_K, 1)


def test_looks_per_position_are_found_where_plain_click_rates_are_wrong() -> None:
    truth_K = np.array([1.0, 0.9, 0.7, 0.6, 0.5, 0.45, 0.4, 0.35])
    counts, rate_K = _harvest(truth_K, 6_000)
    found_K = examination(counts, SearchSettings(max_position=8))
    assert np.abs(found_K / truth_K - 1).max() < 0.08
    assert np.abs(rate_K / rate_K[0] / truth_K - 1).max() > 0.3
    assert (np.diff(found_K) <= 0).all()


def test_without_data_looks_fall_as_the_shipped_curve() -> None:
    counts = PositionCounts(np.zeros((5, 5)), np.zeros((5, 5), dtype=np.int64))
    looks_K = examination(counts, SearchSettings(max_position=5, position_eta=0.5))
    assert looks_K.tolist() == pytest.approx([1 / position**0.5 for position in range(1, 6)])
    assert click_weights(looks_K, SearchSettings(max_click_weight=2.0)).tolist() == pytest.approx([1, 2**0.5, 3**0.5, 2, 2])


def test_a_position_looked_at_more_than_the_one_above_is_levelled() -> None:
    clicks_KK = np.array([[0, 500, 500], [250, 0, 250], [1_000, 1_000, 0]])
    looks_K = examination(PositionCounts(clicks_KK / 10, clicks_KK), SearchSettings(max_position=3))
    assert (np.diff(looks_K) <= 0).all()
    assert looks_K[1] == looks_K[2]


def test_spellings_of_one_query_join_the_most_frequent() -> None:
    queries = ("canon camera", "canon camrea", "canon camera 5", "canon camera 6", "cannon camera", "canon camero")
    clicks = {0: {1: 50, 2: 30}, 1: {1: 5, 2: 3}, 2: {1: 5}, 3: {1: 4}, 4: {9: 7}, 5: {1: 6, 9: 1}}
    rows = [(query, work, number) for query, works in clicks.items() for work, number in works.items()]
    query_P, work_P, clicks_P = (np.array(column) for column in zip(*rows, strict=True))
    head_Q = spelling_heads(queries, query_P, work_P, clicks_P, 0.5)
    assert [queries[head] for head in head_Q] == [
        "canon camera",
        "canon camera",  # letters swapped, same works
        "canon camera 5",  # another number is another thing
        "canon camera 6",
        "cannon camera",  # leads elsewhere
        "canon camera",
    ]


def _confidence(rows: list[tuple[int, int, int, int]]) -> dict[tuple[int, int], float]:
    """Confidence of (work, head, people, skips), clicks as many as people."""
    work_P, head_P, users_P, skips_P = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    confidence_P = pair_confidence(work_P, head_P, users_P, users_P.astype(np.float64), skips_P, 2.0)
    assert ((confidence_P > 0) & (confidence_P <= 1)).all()
    return dict(zip(zip(work_P.tolist(), head_P.tolist(), strict=True), confidence_P.tolist(), strict=True))


def test_confidence_rises_with_support_and_people_and_falls_with_skips() -> None:
    topics = [(work, query, 10, 0) for work in range(6) for query in (0, 1, 2)]  # queries 0 to 2 meet on works 0 to 5
    stray = [(6, 0, 10, 0), (6, 3, 10, 0), (6, 4, 10, 0), (7, 3, 10, 0), (7, 4, 10, 0)]  # 3 and 4 meet on 6 and 7, 0 with them only on 6
    base = _confidence(topics + stray)
    assert base[6, 3] > base[6, 0]
    assert base[0, 0] > base[6, 0]
    skipped = _confidence([(0, 0, 10, 40), *topics[1:], *stray])
    assert skipped[0, 0] < base[0, 0]
    crowded = _confidence([(0, 0, 100, 0), *topics[1:], *stray])
    assert crowded[0, 0] > base[0, 0]


def test_support_counts_the_queries_met_elsewhere_as_a_plain_loop_does() -> None:
    draw = np.random.default_rng(2)
    rows = sorted({(int(draw.integers(30)), int(draw.integers(12))) for _ in range(120)})
    works_of: dict[int, set[int]] = defaultdict(set)
    queries_of: dict[int, set[int]] = defaultdict(set)
    for work, query in rows:
        works_of[query].add(work)
        queries_of[work].add(query)
    others = np.array([len(queries_of[work]) - 1 for work, _ in rows])
    reached = np.array(
        [sum(bool((works_of[query] & works_of[other]) - {work}) for other in queries_of[work] - {query}) for work, query in rows]
    )
    support = (reached + 2.0 * reached.sum() / others.sum()) / (others + 2.0)
    users = np.full(len(rows), 6)
    found = _confidence([(work, query, 6, 0) for work, query in rows])
    assert list(found.values()) == pytest.approx(np.cbrt(support * 1.0 * users / (users + 2.0)).tolist(), abs=1e-6)


def test_a_log_without_clicks_gives_no_pairs(write_tables: WriteTables) -> None:
    directory = write_tables(videos=[{"video_id": 1}])
    signals = read_searches(directory, tables.read_works(directory, None), normal, SETTINGS, None)
    assert signals.pairs.queries == signals.negatives.queries == ()
    assert {stage.count for stage in signals.pair_funnel} == {0}
