"""Comments: rules, mining batch by batch, and choice."""

import sys
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from reelspace.signals.comment_choice import choose_comments
from reelspace.signals.comment_counts import WorkCounts, text_hashes_C
from reelspace.signals.comment_filter import GoodComments, MinedComments, mine_comments, texts_by_work
from reelspace.signals.comment_rules import num_letters, said_form
from reelspace.signals.contexts import Contexts, unit
from reelspace.signals.lexicons import load_lexicons
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


def _mined(
    rows: list[tuple[int, str, int]],
    num_works: int = 40,
    settings: CommentSettings = SETTINGS,
    batch_works: int | None = None,
    own: list[tuple[int, str]] | None = None,
) -> MinedComments:
    """Mine comments of (work, text, likes) in batches of so many works, all in one if not given."""
    rows = sorted(rows, key=lambda row: row[0])

    def read_batches() -> Iterator[Comments]:
        step = batch_works or num_works
        for first in range(0, num_works, step):
            part = [row for row in rows if first <= row[0] < first + step]
            likes_C = np.array([likes for *_, likes in part], dtype=np.int64)
            yield Comments(np.array([work for work, *_ in part], dtype=np.int64), tuple(text for _, text, _ in part), likes_C)

    own_comments = [_comments(own)] if own else []
    return mine_comments(read_batches, _works(num_works), NormalForms(), load_lexicons(), settings, own_comments)


def _counts(mined: MinedComments) -> dict[str, int]:
    return {stage.stage: stage.count for stage in mined.funnel}


def test_only_comments_that_say_something_about_their_work_pass() -> None:
    rows = [(0, "Nice LENS"), (0, "nice lens!"), (0, "😂😂😂"), (0, "hm"), (0, "sub for sub"), (0, "镜头好"), (0, "where is the shop")]
    rows += [(work, "so good") for work in range(30)]
    mined = _mined([(work, text, 0) for work, text in rows], own=[(0, "Where is the shop?")])
    assert sorted(mined.good.normal) == ["nice lens", "镜头好"]
    assert _counts(mined) == {
        "not a copy in other letters": 36,
        "not the author's own words": 35,
        "not emoji only": 34,
        "long enough": 33,
        "not spam": 32,
        "not said under anything": 2,
        "candidates for the pool of their work": 2,
        "not a near copy": 2,
        "in the pool of their work": 2,
        "not said under anything in nearly the same words": 2,
    }


def test_the_most_liked_of_near_copies_stands_for_all_with_the_likes_of_all() -> None:
    long = "where did you get the lens with the red ring"
    rows = [(0, f"{long}s", 5), (0, f"{long}!", 9), (0, long.upper(), 2), (0, "a tripod", 1), (1, f"{long}s", 3)]
    mined = _mined(rows)
    assert mined.texts == (f"{long}!", "a tripod", f"{long}s")
    assert mined.likes_C.tolist() == [16, 1, 3]


def test_loudness_and_stretched_letters_make_no_other_text() -> None:
    assert said_form("so goooood!!! 😍") == said_form("so gooood") == "so good"
    assert said_form("哈哈哈哈哈") == "哈哈"
    assert said_form("20000 _ok_") == "20000 ok"
    assert said_form("😂😂") == ""


def test_a_campaign_in_slightly_different_words_is_said_under_anything() -> None:
    rows = [(work, f"the very best prices of all brands are with us this week, ask nr {work}", 0) for work in range(30)]
    rows += [(work, f"the tripod of number {work} is stable", 0) for work in range(3)]
    mined = _mined(rows)
    assert {text.split()[1] for text in mined.texts} == {"tripod"}
    assert _counts(mined)["in the pool of their work"] == 33


def test_captions_and_covers_repeated_by_viewers_are_dropped() -> None:
    zeros = np.zeros(2, dtype=np.int64)
    works = Works(np.arange(2, dtype=np.int64), ("My new lens #gear", ""), ("", "tripod time"), zeros, zeros, ((), ()))
    comments = _comments([(0, "my new lens"), (0, "tripod time"), (1, "my new lens"), (1, "Tripod time!")])
    mined = mine_comments(lambda: [comments], works, NormalForms(), load_lexicons(), SETTINGS)
    assert list(zip(mined.good.work_C.tolist(), mined.texts, strict=True)) == [(0, "tripod time"), (1, "my new lens")]


def test_batches_of_any_size_give_the_same() -> None:
    draw = np.random.default_rng(0)
    words = ["lens", "tripod", "cake", "镜头", "三脚架", "so good", "where did you get the", "!!", "😂"]
    texts = [" ".join(draw.choice(words, size=int(draw.integers(1, 6)))) for _ in range(2_000)]
    rows = [(int(draw.integers(40)), text, int(draw.integers(9))) for text in texts]
    whole, *parts = (_mined(rows, batch_works=size) for size in (None, 1, 7))
    for part in parts:
        assert (part.texts, part.funnel, part.num_by_language) == (whole.texts, whole.funnel, whole.num_by_language)
        assert part.likes_C.tolist() == whole.likes_C.tolist()
    assert 0 < len(whole.texts) < 2_000


def test_languages_are_counted_and_known_for_each_comment() -> None:
    mined = _mined([(0, "the lens is great", 0), (0, "镜头真不错", 0), (0, "que lindo lente", 0), (0, "😂😂", 0), (1, "镜头真不错", 0)])
    assert mined.num_by_language == {"en": 1, "zh": 2, "other_latin": 1, "none": 1}
    assert dict(zip(mined.texts, mined.languages, strict=True)) == {
        "the lens is great": "en",
        "镜头真不错": "zh",
        "que lindo lente": "other_latin",
    }


def test_the_pool_of_a_work_holds_the_liked_and_the_long_ones() -> None:
    rows = [(0, f"lens {letter * 2}", 0) for letter in "abcdefgh"] + [(0, "liked", 50), (0, "a longer remark about the tripod", 0)]
    mined = _mined(rows, settings=CommentSettings(pool_size=2))
    assert sorted(mined.texts) == ["a longer remark about the tripod", "liked"]


def test_counts_of_works_are_never_too_low_and_seldom_too_high() -> None:
    draw = np.random.default_rng(1)
    true = draw.zipf(1.5, size=20_000).clip(max=500)
    hashes_C = text_hashes_C(f"text {number}" for number in range(len(true)))
    counts = WorkCounts()
    for work in range(int(true.max())):
        counts.add(hashes_C[true > work])
    found_C = counts.count_C(hashes_C)
    assert (found_C >= true).all()
    assert (found_C == true).mean() > 0.999


def _made_on_the_fly(num_works: int, num_bytes: int) -> Iterator[Comments]:
    """1,000 comments a work, a batch each, none of them held."""
    letters = str.maketrans("0123456789", "ghijklmnop")
    for work in range(num_works):
        draw = np.random.default_rng(work)
        texts = tuple(draw.bytes(num_bytes).hex().translate(letters) for _ in range(1_000))
        yield Comments(np.full(len(texts), work, dtype=np.int64), texts, draw.integers(0, 50, size=len(texts)))


def _peak_bytes(num_works: int, num_bytes: int) -> int:
    """Most memory while comments made on the fly are mined with a pool of 8 a work."""
    lexicons, forms = load_lexicons(), NormalForms()
    tracemalloc.start()
    try:
        mined = mine_comments(
            lambda: _made_on_the_fly(num_works, num_bytes), _works(num_works), forms, lexicons, CommentSettings(pool_size=8)
        )
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert _counts(mined)["not a copy in other letters"] == 1_000 * num_works
    assert len(mined.texts) == 8 * num_works
    return peak_bytes


def _held_bytes(num_works: int, num_bytes: int) -> int:
    """Memory of the texts of all these comments."""
    return sum(sys.getsizeof(text) for batch in _made_on_the_fly(num_works, num_bytes) for text in batch.texts)


def test_mining_more_batches_takes_little_more_memory() -> None:
    growth_bytes = _peak_bytes(16, 100) - _peak_bytes(4, 100)
    assert growth_bytes < 0.2 * (_held_bytes(16, 100) - _held_bytes(4, 100))


@pytest.mark.long
@pytest.mark.timeout(1_200)
def test_mining_300_000_comments_stays_below_a_bound_that_their_texts_break() -> None:
    assert _peak_bytes(300, 50) < 32e6 < _held_bytes(300, 50)


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
