"""Words around works: what author, searchers and commenters say, as counts for contexts and as sets for the rules.

Legend: V works, P pairs of query and work, C comments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reelspace.signals.comment_filter import GoodComments
from reelspace.signals.lexicons import Lexicons
from reelspace.signals.normal_forms import NormalForms
from reelspace.signals.segmentation import Segmenter
from reelspace.signals.tables import Pairs, Works

_AUTHOR_WEIGHT = 1.0
_QUERY_WEIGHT = 1.5
_COMMENT_WEIGHT = 0.5
_CATEGORY_WEIGHT = 1.0
_MOST_WEIGHT = 3.0  # a work with thousands of comments must not be one word


@dataclass(frozen=True, slots=True)
class WordsAround:
    """Per work the weight of each word and category for contexts, and the set of words said around it."""

    weights: tuple[dict[str, float], ...]
    said: tuple[frozenset[str], ...]


class Sources:
    """Where words come from: normal texts of the author, satisfied queries, good comments."""

    def __init__(self, segmenter: Segmenter, forms: NormalForms, lexicons: Lexicons) -> None:
        self._segmenter = segmenter
        self._forms = forms
        self._lexicons = lexicons

    def gather(self, works: Works, texts: Sequence[str], pairs: Pairs, comments: GoodComments) -> WordsAround:
        """Gather the words of V works; `texts` are their captions without hashtags."""
        rows = works.rows()
        weights: list[dict[str, float]] = [{} for _ in texts]
        for row, (text, cover_text) in enumerate(zip(texts, works.cover_texts, strict=True)):
            self._add(weights[row], self._forms.text(f"{text} {cover_text}"), _AUTHOR_WEIGHT)
        for video_id, query in zip(pairs.video_ids_P.tolist(), pairs.queries, strict=True):
            self._add(weights[rows[video_id]], query, _QUERY_WEIGHT)
        for work, text in zip(comments.work_C.tolist(), comments.normal, strict=True):
            self._add(weights[work], text, _COMMENT_WEIGHT)
        said = tuple(frozenset(counts) for counts in weights)
        for row, names in enumerate(works.categories):
            for level, name in enumerate(names):
                weights[row][f"category {level} {name}"] = _CATEGORY_WEIGHT
        return WordsAround(tuple(_damped(counts) for counts in weights), said)

    def _add(self, counts: dict[str, float], text: str, weight: float) -> None:
        for word in dict.fromkeys(self._segmenter.words(text)):
            if word not in self._lexicons.query_templates:
                counts[word] = counts.get(word, 0.0) + weight


def _damped(counts: dict[str, float]) -> dict[str, float]:
    return {word: min(weight, _MOST_WEIGHT) ** 0.5 for word, weight in counts.items()}
