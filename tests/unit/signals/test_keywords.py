"""Keywords of satisfied queries."""

import numpy as np

from reelspace.signals.keywords import content_words, query_keywords
from reelspace.signals.lexicons import load_lexicons
from reelspace.signals.phrases import Phrases
from reelspace.signals.settings import SignalsSettings
from reelspace.signals.tables import Pairs, Works

LEXICONS = load_lexicons()
NO_PHRASES = Phrases([])


def _works(num: int) -> Works:
    zeros = np.zeros(num, dtype=np.int64)
    categories = tuple((f"area{row % 4}",) for row in range(num))
    return Works(np.arange(100, 100 + num, dtype=np.int64), ("",) * num, ("",) * num, zeros, zeros, categories)


def _pairs(rows: list[tuple[int, str]]) -> Pairs:
    ones = np.ones(len(rows), dtype=np.int64)
    ids = np.array([100 + work for work, _ in rows], dtype=np.int64)
    return Pairs(ids, tuple(query for _, query in rows), ones, ones, ones)


def test_template_words_numbers_and_letters_are_no_keywords() -> None:
    words = ("how", "to", "choose", "lens", "2024", "x", "教程", "相机", "fyp")
    assert content_words(words, NO_PHRASES, LEXICONS) == ("lens", "相机")


def test_words_that_go_with_everything_are_dropped_and_topical_ones_stay() -> None:
    rows = [(work, f"weekend area{work % 4}word") for work in range(40)] + [(work, "oneoff") for work in (0, 1)]
    pairs = _pairs(rows)
    found, funnel = query_keywords(pairs, [query.split() for query in pairs.queries], NO_PHRASES, _works(400), LEXICONS, SignalsSettings())
    assert {keyword.word for keyword in found} == {"area0word", "area1word", "area2word", "area3word", "oneoff"}
    assert [stage.count for stage in funnel] == [82, 82, 42]
    assert all(rows[keyword.pair][0] == keyword.work for keyword in found)


def test_a_word_on_most_works_is_dropped_without_categories_too() -> None:
    works = _works(10)
    works = Works(works.ids_V, works.captions, works.cover_texts, works.created_us_V, works.creators_V, ((),) * 10)
    pairs = _pairs([(work, "clip") for work in range(6)] + [(0, "cat"), (1, "cat")])
    found, _ = query_keywords(pairs, [(query,) for query in pairs.queries], NO_PHRASES, works, LEXICONS, SignalsSettings())
    assert {keyword.word for keyword in found} == {"cat"}


def test_no_query_gives_no_keyword() -> None:
    assert query_keywords(_pairs([]), [], NO_PHRASES, _works(3), LEXICONS, SignalsSettings())[0] == []
