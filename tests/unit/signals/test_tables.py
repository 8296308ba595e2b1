"""Tables: what is read, and the satisfied pairs against a plain loop."""

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from reelspace.core.errors import TableError
from reelspace.signals import tables
from reelspace.signals.settings import SearchSettings

WriteTables = Callable[..., Path]
DAY = datetime(2025, 1, 1, tzinfo=UTC)
SETTINGS = SearchSettings(satisfied_dwell_ms=7_000, quick_return_ms=5_000, min_users=2)


def _log(write_tables: WriteTables) -> tuple[Path, list[dict[str, object]], list[dict[str, object]]]:
    draw = np.random.default_rng(5)
    searches = [
        {
            "search_id": number,
            "user_id": int(draw.integers(6)),
            "query": str(draw.choice(["Cat", "cat ", "猫", "貓!", "?"])),
            "searched_at": DAY + timedelta(hours=int(draw.integers(100))),
        }
        for number in range(300)
    ]
    clicks = [
        {
            "search_id": int(search["search_id"]),  # type: ignore[call-overload]
            "video_id": int(draw.integers(1, 7)),
            "clicked_at": search["searched_at"] + timedelta(seconds=int(draw.integers(60))),  # type: ignore[operator]
            "dwell_ms": int(draw.choice([100, 6_999, 7_000, 30_000])),
            "returned_within_ms": [None, 4_000, 5_000, 5_001][int(draw.integers(4))],
        }
        for search in searches
        for _ in range(2)
    ]
    videos = [{"video_id": video_id} for video_id in range(1, 6)]  # clicks on work 6 are on an unknown one
    return write_tables(videos=videos, searches=searches, clicks=clicks), searches, clicks


def _normal(query: str) -> str:
    return query.strip(" !?").casefold().replace("貓", "猫")


@pytest.mark.parametrize("as_of", [None, DAY + timedelta(hours=50)])
def test_satisfied_pairs_equal_a_plain_loop(write_tables: WriteTables, as_of: datetime | None) -> None:
    directory, searches, clicks = _log(write_tables)
    pairs, funnel = tables.satisfied_pairs(directory, tables.read_works(directory, None), _normal, SETTINGS, as_of)
    by_id = {search["search_id"]: search for search in searches}
    people: dict[tuple[int, str], set[int]] = defaultdict(set)
    for click in clicks:
        left_at = click["clicked_at"] + timedelta(milliseconds=click["dwell_ms"])  # type: ignore[operator, arg-type]
        back_ms = click["returned_within_ms"]
        search = by_id[click["search_id"]]
        in_time = as_of is None or (left_at < as_of and search["searched_at"] < as_of)  # type: ignore[operator]
        if in_time and click["video_id"] != 6 and click["dwell_ms"] >= 7_000 and (back_ms is None or back_ms > 5_000):  # type: ignore[operator]
            people[click["video_id"], _normal(search["query"])].add(search["user_id"])  # type: ignore[index, arg-type]
    wanted = {pair: len(users) for pair, users in people.items() if pair[1] and len(users) >= 2}
    got = {
        (int(video_id), query): int(num) for video_id, query, num in zip(pairs.video_ids_P, pairs.queries, pairs.num_users_P, strict=True)
    }
    assert wanted
    assert got == wanted
    assert funnel[-1].count == len(wanted)
    counts = [stage.count for stage in funnel]
    assert counts == sorted(counts, reverse=True)
    if as_of is not None:
        assert int(pairs.last_us_P.max()) < as_of.timestamp() * 1e6


def test_works_from_as_of_on_are_not_read(write_tables: WriteTables) -> None:
    directory = write_tables(videos=[{"video_id": 2, "created_at": DAY + timedelta(days=1)}, {"video_id": 1, "categories": ["a", "b"]}])
    works = tables.read_works(directory, DAY + timedelta(days=1))
    assert works.ids_V.tolist() == [1]
    assert works.categories == (("a", "b"),)
    assert works.creators_V.tolist() == [tables.NO_CREATOR]
    with pytest.raises(TableError, match="no work was uploaded before as_of"):
        tables.read_works(directory, datetime(2020, 1, 1, tzinfo=UTC))


def test_comments_of_the_author_and_copies_are_left_out(write_tables: WriteTables) -> None:
    directory = write_tables(
        videos=[{"video_id": 1, "creator_id": 7}, {"video_id": 2}],
        comments=[
            {"comment_id": 1, "video_id": 1, "user_id": 7, "text": "mine"},
            {"comment_id": 2, "video_id": 1, "user_id": 8, "text": "nice lens ", "likes": 2},
            {"comment_id": 3, "video_id": 1, "user_id": 9, "text": "nice lens", "likes": 3},
            {"comment_id": 4, "video_id": 2, "user_id": 7, "text": "nice lens"},
            {"comment_id": 5, "video_id": 9, "user_id": 7, "text": "under an unknown work"},
        ],
    )
    comments, funnel = tables.read_comments(directory, tables.read_works(directory, None), None)
    assert list(zip(comments.video_ids_C.tolist(), comments.texts, comments.likes_C.tolist(), strict=True)) == [
        (1, "nice lens", 5),
        (2, "nice lens", 0),
    ]
    assert [stage.count for stage in funnel] == [5, 4, 3, 2]


def test_raters_of_one_use_are_averaged(write_tables: WriteTables) -> None:
    judged = [{"video_id": 1, "tag": "cat", "relevant": value, "rater": rater} for rater, value in (("a", True), ("b", True), ("c", False))]
    directory = write_tables(videos=[{"video_id": 1}], tag_judgements=judged)
    judgements = tables.read_judgements(directory, tables.read_works(directory, None))
    assert judgements.tags == ("cat",)
    assert judgements.relevant_J.tolist() == [pytest.approx(2 / 3)]
