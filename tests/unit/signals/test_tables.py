"""Tables: what is read, and comments in batches against a plain loop."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from reelspace.core.errors import TableError
from reelspace.signals import tables

WriteTables = Callable[..., Path]
DAY = datetime(2025, 1, 1, tzinfo=UTC)


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
    works = tables.read_works(directory, None)
    (comments,) = tables.comment_batches(directory, works, None, 100)
    assert list(zip(comments.video_ids_C.tolist(), comments.texts, comments.likes_C.tolist(), strict=True)) == [
        (1, "nice lens", 5),
        (2, "nice lens", 0),
    ]
    assert [stage.count for stage in tables.comment_stages(directory, works, None)] == [5, 4, 3]


def test_raters_of_one_use_are_averaged(write_tables: WriteTables) -> None:
    judged = [{"video_id": 1, "tag": "cat", "relevant": value, "rater": rater} for rater, value in (("a", True), ("b", True), ("c", False))]
    directory = write_tables(videos=[{"video_id": 1}], tag_judgements=judged)
    judgements = tables.read_judgements(directory, tables.read_works(directory, None))
    assert judgements.tags == ("cat",)
    assert judgements.relevant_J.tolist() == [pytest.approx(2 / 3)]


def _many_comments(write_tables: WriteTables) -> tuple[Path, dict[tuple[int, str], int]]:
    """Comments of works 1 to 12 in no order, with their likes after a plain loop."""
    draw = np.random.default_rng(3)
    rows = [
        {
            "comment_id": number,
            "video_id": int(draw.integers(1, 13)),
            "user_id": int(draw.integers(100, 104)),
            "text": f"{draw.choice(['nice', 'sharp', 'soft', ''])}{' ' * int(draw.integers(2))}",
            "likes": int(draw.integers(5)),
            "commented_at": DAY + timedelta(minutes=int(draw.integers(1_000))),
        }
        for number in range(500)
    ]
    likes: dict[tuple[int, str], int] = {}
    for row in rows:
        key = row["video_id"], row["text"].strip()  # type: ignore[union-attr]
        if key[0] <= 10 and row["user_id"] != 100 and key[1]:  # type: ignore[operator]
            likes[key] = likes.get(key, 0) + row["likes"]  # type: ignore[index, operator, assignment]
    videos = [{"video_id": video_id, "creator_id": 100} for video_id in range(1, 11)]
    return write_tables(videos=videos, comments=rows), likes


@pytest.mark.parametrize("max_rows", [1, 70, 10_000])
def test_batches_of_comments_hold_whole_works_in_order(write_tables: WriteTables, max_rows: int) -> None:
    directory, wanted = _many_comments(write_tables)
    batches = list(tables.comment_batches(directory, tables.read_works(directory, None), None, max_rows))
    assert len(batches) == {1: 10, 10_000: 1}.get(max_rows, len(batches))
    works_of_batches = [sorted(set(batch.video_ids_C.tolist())) for batch in batches]
    assert [work for works in works_of_batches for work in works] == list(range(1, 11))
    found = {
        (int(video_id), text): int(likes)
        for batch in batches
        for video_id, text, likes in zip(batch.video_ids_C, batch.texts, batch.likes_C, strict=True)
    }
    assert found == wanted
    assert sum(len(batch.texts) for batch in batches) == len(wanted)


def test_batches_together_are_what_is_read_at_once(write_tables: WriteTables) -> None:
    directory, wanted = _many_comments(write_tables)
    works = tables.read_works(directory, None)
    (comments,) = tables.comment_batches(directory, works, None, 1_000_000)
    batches = list(tables.comment_batches(directory, works, None, 60))
    assert len(batches) > 2
    assert comments.texts == tuple(text for batch in batches for text in batch.texts)
    assert len(comments.texts) == len(wanted)
