"""Keywords: the words of satisfied queries that say what a work is about.

Dropped are words that say what kind of answer is wanted (`best`, `教程`), single letters and words that searchers put before works of
all kinds. Legend: V works, P pairs of query and work, M mentions of a word by a pair, W words.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelspace.signals.entropy import category_spread
from reelspace.signals.evidence import category_numbers
from reelspace.signals.lexicons import Lexicons
from reelspace.signals.phrases import Phrases, content_runs
from reelspace.signals.settings import SignalsSettings
from reelspace.signals.tables import Pairs, Stage, Works

_MIN_SPREAD_WORKS = 3


@dataclass(frozen=True, slots=True)
class Keyword:
    """A word that people searched with and were satisfied by a work; `pair` is the row of the query's pair."""

    work: int
    word: str
    pair: int


def query_keywords(
    pairs: Pairs, words_P: Sequence[Sequence[str]], phrases: Phrases, works: Works, lexicons: Lexicons, settings: SignalsSettings
) -> tuple[list[Keyword], list[Stage]]:
    """Give the keywords of every pair and the funnel of mentions.

    Args:
        words_P: the words of each pair's query.
    """
    rows = works.rows()
    num_words = sum(len(words) for words in words_P)
    named = [
        Keyword(rows[video_id], word, pair)
        for pair, video_id in enumerate(pairs.video_ids_P.tolist())
        for word in dict.fromkeys(content_words(words_P[pair], phrases, lexicons))
    ]
    vague = _vague_words(named, works, settings)
    kept = [mention for mention in named if mention.word not in vague]
    funnel = [
        Stage("words of satisfied queries", num_words),
        Stage("without template words and letters, phrases joined", len(named)),
        Stage("not about anything and everything", len(kept)),
    ]
    return kept, funnel


def content_words(words: Sequence[str], phrases: Phrases, lexicons: Lexicons) -> tuple[str, ...]:
    """The words of a query that can name a topic, phrases joined."""
    joined = [word for run in content_runs(words, lexicons.query_templates) for word in phrases.join(run)]
    return tuple(word for word in joined if len(word) >= 2 and not word.isdigit() and word not in lexicons.begging)


def _vague_words(mentions: Sequence[Keyword], works: Works, settings: SignalsSettings) -> frozenset[str]:
    """Words over too large a share of works, or spread over categories as works are."""
    by_word: Mapping[str, set[int]] = _works_by_word(mentions)
    most = settings.vocabulary.max_work_share * len(works.ids_V)
    words = sorted(by_word)
    word_M = np.array([number for number, word in enumerate(words) for _ in by_word[word]], dtype=np.int64)
    work_M = np.array([work for word in words for work in sorted(by_word[word])], dtype=np.int64)
    category_V = category_numbers(works)
    if len(words) == 0:
        return frozenset()
    spread_W = category_spread(word_M, category_V[work_M], len(words), category_V, settings.hashtags.entropy_shrinkage)
    too_spread_W: NDArray[np.bool_] = np.nan_to_num(spread_W, nan=0.0) > settings.vocabulary.max_spread
    num_W = Counter(word_M.tolist())
    return frozenset(
        word
        for number, word in enumerate(words)
        if num_W[number] > max(most, 1) or (too_spread_W[number] and num_W[number] >= _MIN_SPREAD_WORKS)
    )


def _works_by_word(mentions: Sequence[Keyword]) -> dict[str, set[int]]:
    by_word: dict[str, set[int]] = {}
    for mention in mentions:
        by_word.setdefault(mention.word, set()).add(mention.work)
    return by_word
