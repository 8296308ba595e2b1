"""Key phrases and aspects of comments as weak labels."""

import math

import numpy as np
import pytest

from reelspace.core.errors import SettingError
from reelspace.signals.comment_aspects import WeakLabels, log_odds_z, read_aspects, shipped_aspects, weak_labels
from reelspace.signals.comment_filter import GoodComments
from reelspace.signals.normal_forms import NormalForms
from reelspace.signals.segmentation import Segmenter
from reelspace.signals.settings import CommentSettings

ASPECTS = read_aspects("# version: 3\nsound: 音质 sound bass\nprice: 多少钱 price\n")


def _labels(texts_of_works: list[list[str]], settings: CommentSettings | None = None) -> WeakLabels:
    rows = [(work, text) for work, texts in enumerate(texts_of_works) for text in texts]
    good = GoodComments(np.array([work for work, _ in rows], dtype=np.int64), np.arange(len(rows)), tuple(text for _, text in rows))
    return weak_labels(good, str.split, frozenset({"best"}), ASPECTS, settings or CommentSettings())


def _of_work(labels: WeakLabels, work: int) -> dict[str, int]:
    return {
        text: num
        for text, num, row in zip(labels.texts, labels.num_comments_E.tolist(), labels.work_E.tolist(), strict=True)
        if row == work
    }


OTHERS = [["wide view", "calm scene", "odd corner", "new day"] for _ in range(200)]


def test_what_is_said_more_under_a_work_than_elsewhere_is_its_label_with_the_number_of_comments() -> None:
    own = ["wide tripod one", "tripod legs", "calm tripod tripod", "new bag", "bag"]
    labels = _labels([own, *OTHERS])
    assert _of_work(labels, 0) == {"tripod": 3}


def test_words_that_belong_together_are_one_phrase() -> None:
    own = [f"{word} film roll" for word in ("wide", "calm", "odd", "new")]
    assert _of_work(_labels([own, *OTHERS]), 0) == {"film roll": 4}


def test_what_all_works_are_told_is_no_label() -> None:
    labels = _labels([[*texts, "lovely day", "lovely night", "lovely noon"] for texts in OTHERS])
    assert "lovely" not in labels.texts


def test_templates_function_words_and_numbers_are_no_labels() -> None:
    own = ["best of 2024", "the best of 2024", "is 2024 the best", "x 2024 best"]
    assert _of_work(_labels([own, *OTHERS]), 0) == {}


def test_persons_are_no_labels() -> None:
    forms, segmenter = NormalForms(), Segmenter()
    own = [forms.text(text) for text in ("@lenslady99 hi", "thanks @LensLady99", "@lenslady99 13812345678", "call 13812345678")]
    rows = [(0, text) for text in own] + [(work, text) for work, texts in enumerate(OTHERS, start=1) for text in texts]
    good = GoodComments(np.array([work for work, _ in rows]), np.arange(len(rows)), tuple(text for _, text in rows))
    labels = weak_labels(good, segmenter.words, frozenset(), ASPECTS, CommentSettings(min_label_comments=2))
    assert _of_work(labels, 0) == {}


def test_aspects_join_words_of_both_languages_and_are_found_inside_chinese_text() -> None:
    own = ["音质很好", "deep bass", "sound sound", "价格多少钱"]
    labels = _labels([own, *OTHERS])
    assert _of_work(labels, 0) == {"sound": 3}
    assert labels.kinds == ("aspect",)


def test_weights_stay_in_bounds_and_grow_with_the_comments() -> None:
    few = [f"tripod {word}" for word in ("wide", "calm", "odd")]
    many = [f"chisel {word}{number}" for number in range(40) for word in ("wide", "calm")]
    labels = _labels([few, many, *OTHERS])
    weight_of = dict(zip(labels.texts, labels.weight_E.tolist(), strict=True))
    assert 0 < weight_of["tripod"] < weight_of["chisel"] < 0.5
    assert weight_of["chisel"] > 0.35


def test_the_contrast_is_the_z_score_of_monroe_and_others() -> None:
    # 6 of 50 words here, 20 of 1,000 everywhere; the prior of 100 mentions gives 2 to the word
    expected = (math.log(8 / 142) - math.log(22 / 1078)) / math.sqrt(1 / 8 + 1 / 22)
    assert log_odds_z(6, 50, 20, 1000) == pytest.approx(expected)
    assert log_odds_z(20, 1000, 20, 1000) == pytest.approx(0, abs=1e-9)
    assert log_odds_z(5, 5, 5, 5) == 0.0


def test_no_comments_give_no_labels() -> None:
    labels = _labels([])
    assert labels.texts == ()
    assert labels.work_E.shape == (0,)


def test_shipped_aspects_are_in_normal_form_and_found_in_whole_texts() -> None:
    forms, shipped, segmenter = NormalForms(), shipped_aspects(), Segmenter()
    assert shipped.version >= 1
    assert [word for word in shipped.aspect_of if forms.text(word) != word] == []
    texts = {f"{word} 啊": name for word, name in shipped.aspect_of.items()}
    assert [text for text, name in texts.items() if name not in shipped.found(text, segmenter.words(text))] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sound: bass\n", "version"),
        ("# version: 1\nsound bass\n", "aspect: word word"),
        ("# version: 1\nsound:\n", "aspect: word word"),
        ("# version: 1\nsound: bass\nfish: bass\n", "'bass' is given for 'sound' and for 'fish'"),
    ],
)
def test_a_malformed_lexicon_of_aspects_is_refused(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        read_aspects(text)
