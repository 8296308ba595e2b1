"""Comments: filter and choice."""

import numpy as np
import pytest

from reelspace.signals.comment_choice import choose_comments
from reelspace.signals.comment_filter import GoodComments, filter_comments, num_letters, texts_by_work
from reelspace.signals.contexts import Contexts, unit
from reelspace.signals.lexicons import shipped_lexicons
from reelspace.signals.normal_forms import NormalForms
from reelspace.signals.settings import CommentSettings
from reelspace.signals.tables import Comments, Works

SETTINGS = CommentSettings(max_comments=2, min_letters=4, max_work_share=0.1)


def _works(num: int) -> Works:
    zeros = np.zeros(num, dtype=np.int64)
    return Works(np.arange(num, dtype=np.int64), ("",) * num, ("",) * num, zeros, zeros, ((),) * num)


def _comments(rows: list[tuple[int, str]]) -> Comments:
    return Comments(
        np.array([work for work, _ in rows], dtype=np.int64), tuple(text for _, text in rows), np.zeros(len(rows), dtype=np.int64)
    )


def test_only_comments_that_say_something_about_their_work_pass() -> None:
    rows = [(0, "Nice LENS"), (0, "nice lens"), (0, "😂😂😂"), (0, "hm"), (0, "sub for sub"), (0, "镜头好")]
    rows += [(work, "so good") for work in range(30)]
    good, funnel = filter_comments(_comments(sorted(rows)), _works(40), NormalForms(), shipped_lexicons(), SETTINGS)
    assert sorted(good.normal) == ["nice lens", "镜头好"]
    assert [stage.count for stage in funnel] == [35, 33, 32, 2]


def test_a_chinese_character_says_as_much_as_two_letters() -> None:
    assert num_letters("镜头!") == 4
    assert num_letters("ok, 1") == 3
    assert num_letters("😂👍") == 0


WORDS = ("lens", "zoom", "cake", "tripod")
# lens, zoom and tripod point to the work's topic, cake elsewhere
CONTEXTS = Contexts(
    np.array([[1.0, 0.0]]),
    {word: row for row, word in enumerate(WORDS)},
    unit(np.array([[1.0, 0.1], [1.0, 0.2], [0.0, 1.0], [1.0, -0.4]])),
)


def _chosen(texts: list[str], settings: CommentSettings = SETTINGS) -> list[str]:
    num = len(texts)
    good = GoodComments(np.zeros(num, dtype=np.int64), np.arange(num, dtype=np.int64), tuple(texts))
    chosen = choose_comments(good, np.zeros(num, dtype=np.int64), str.split, CONTEXTS, settings)
    return texts_by_work(good, chosen, texts).get(0, [])


def test_the_choice_is_relevant_first_then_different() -> None:
    assert _chosen(["great cake", "the lens", "the lens here", "a zoom", "unknown words"]) == ["the lens", "a zoom"]


@pytest.mark.parametrize("texts", [["great cake"], ["unknown words"], []])
def test_comments_on_something_else_are_never_chosen(texts: list[str]) -> None:
    assert _chosen(texts) == []


def test_a_work_with_thousands_of_comments_keeps_the_cap_and_the_best() -> None:
    texts = [f"zoom number{row}" for row in range(3_000)] + ["lens"]
    chosen = _chosen(texts, CommentSettings(max_comments=8))
    assert len(chosen) == 8
    assert chosen[0] == "lens"
