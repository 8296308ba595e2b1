"""What comments say of a work: phrases that are said more under it than elsewhere, and the aspects its viewers speak of.

Both become weak labels: they weigh at most half, so that no tag and no query is outweighed by talk.
Legend: C comments, E entries of work and label.
"""

import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from math import log, sqrt
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from reelspace.core.errors import SettingError
from reelspace.signals.comment_filter import GoodComments
from reelspace.signals.languages import ENGLISH_FUNCTION_WORDS
from reelspace.signals.lexicons import read_lexicon
from reelspace.signals.masks import masked
from reelspace.signals.normal_forms import has_han
from reelspace.signals.phrases import Phrases, content_runs
from reelspace.signals.settings import CommentSettings

WeakKind = Literal["phrase", "aspect"]
_PRIOR_MENTIONS: Final = 100.0
_MIN_CHARACTERS: Final = 2


@dataclass(frozen=True, slots=True)
class Aspects:
    """The words that name aspects; Chinese ones are found inside a text, others as whole words."""

    version: int
    aspect_of: Mapping[str, str]
    han: re.Pattern[str]

    def found(self, normal: str, words: Sequence[str]) -> frozenset[str]:
        """The aspects that a text in normal form speaks of; `words` are its words."""
        named = {self.aspect_of[word] for word in words if word in self.aspect_of}
        return frozenset(named | {self.aspect_of[word] for word in self.han.findall(normal)})


@dataclass(frozen=True, slots=True)
class WeakLabels:
    """E labels that only comments give, by work, then falling weight, then kind and text.

    `num_comments_E` is the number of different comments that say the phrase or speak of the aspect.
    """

    work_E: NDArray[np.int64]
    texts: tuple[str, ...]
    kinds: tuple[WeakKind, ...]
    weight_E: NDArray[np.float32]
    num_comments_E: NDArray[np.int64]


def read_aspects(text: str) -> Aspects:
    """Read a lexicon of aspects: `aspect: word word ...` a line, a word under one aspect only.

    Raises:
        SettingError: the version is missing, a line has another form, or a word occurs twice.
    """
    lexicon = read_lexicon("aspects", text)
    aspect_of: dict[str, str] = {}
    for entry in lexicon.entries:
        name, colon, words = entry.partition(":")
        if not (colon and name.strip() and words.split()):
            raise SettingError(f"lexicon aspects: expected 'aspect: word word ...', got {entry!r}")
        for word in words.split():
            if word in aspect_of:
                raise SettingError(f"lexicon aspects: {word!r} is given for {aspect_of[word]!r} and for {name.strip()!r}")
            aspect_of[word] = name.strip()
    han = sorted((word for word in aspect_of if has_han(word)), key=lambda word: (-len(word), word))
    return Aspects(lexicon.version, aspect_of, re.compile("|".join(map(re.escape, han)) if han else r"(?!)"))


def shipped_aspects() -> Aspects:
    """Read the lexicon of aspects of the package."""
    return read_aspects((files("reelspace.signals") / "lexicons" / "aspects.txt").read_text(encoding="utf-8"))


def weak_labels(
    comments: GoodComments, words: Callable[[str], Sequence[str]], templates: Container[str], aspects: Aspects, settings: CommentSettings
) -> WeakLabels:
    """Give the phrases and aspects that viewers speak of more under a work than under all works.

    Args:
        comments: by work.
        words: cuts a normal text into words.
        templates: words that say nothing of a topic; no phrase has one.

    Cost: O(words) time; memory for the phrases of one work and one count per different phrase.
    """
    texts = [masked(text) for text in comments.normal]  # a person named by three viewers is no label
    phrases = Phrases(run for text in texts for run in _runs(words(text), templates, aspects))
    total: Counter[tuple[WeakKind, str]] = Counter()
    for text in texts:
        total.update(_said(text, words(text), phrases, templates, aspects))
    num_total = total.total()
    entries: list[tuple[int, float, WeakKind, str, int]] = []
    for work, of_work in groupby(zip(comments.work_C.tolist(), texts, strict=True), key=lambda pair: pair[0]):
        said = Counter(unit for _, text in of_work for unit in _said(text, words(text), phrases, templates, aspects))
        num_said = said.total()
        for (kind, label), num in said.items():
            contrast = log_odds_z(num, num_said, total[kind, label], num_total)
            if num >= settings.min_label_comments and contrast >= settings.min_label_contrast:
                entries.append((work, _weight(num, contrast, settings), kind, label, num))
    entries.sort(key=lambda entry: (entry[0], -entry[1], entry[2], entry[3]))
    return WeakLabels(
        work_E=np.array([entry[0] for entry in entries], dtype=np.int64),
        texts=tuple(entry[3] for entry in entries),
        kinds=tuple(entry[2] for entry in entries),
        weight_E=np.array([entry[1] for entry in entries], dtype=np.float32),
        num_comments_E=np.array([entry[4] for entry in entries], dtype=np.int64),
    )


def log_odds_z(num: int, num_all_words: int, num_everywhere: int, num_all_words_everywhere: int) -> float:
    """How surely a word is said more under one work than under all: z-score of the log-odds ratio with a Dirichlet prior.

    Args:
        num, num_all_words: mentions of the word and of all words under the work.
        num_everywhere, num_all_words_everywhere: the same under all works, this one included.

    Source: Monroe, Colaresi and Quinn 2008, equations 16, 19 and 22; the prior has the shares of all works and the strength of 100
    mentions, so that a work with few comments needs more to stand out.
    """
    prior = _PRIOR_MENTIONS * num_everywhere / num_all_words_everywhere
    here, rest_here = num + prior, num_all_words + _PRIOR_MENTIONS - num - prior
    everywhere = num_everywhere + prior
    rest_everywhere = num_all_words_everywhere + _PRIOR_MENTIONS - everywhere
    if rest_here <= 0 or rest_everywhere <= 0:
        return 0.0  # nothing else is said anywhere: nothing stands out
    return (log(here / rest_here) - log(everywhere / rest_everywhere)) / sqrt(1 / here + 1 / everywhere)


def _weight(num: int, contrast: float, settings: CommentSettings) -> float:
    """Grows with the comments that say it and with how surely it is special; always below the largest weight."""
    support = num / (num + settings.min_label_comments)
    return round(settings.max_label_weight * support * contrast / (contrast + settings.min_label_contrast), 4)


def _runs(words: Sequence[str], templates: Container[str], aspects: Aspects) -> Iterator[tuple[str, ...]]:
    for run in content_runs(words, templates):
        for part in content_runs(run, aspects.aspect_of):
            yield from content_runs(part, ENGLISH_FUNCTION_WORDS)


def _said(
    text: str, words: Sequence[str], phrases: Phrases, templates: Container[str], aspects: Aspects
) -> frozenset[tuple[WeakKind, str]]:
    """The different phrases and aspects of one comment."""
    joined = {word for run in _runs(words, templates, aspects) for word in phrases.join(run)}
    units: set[tuple[WeakKind, str]] = {("phrase", word) for word in joined if len(word) >= _MIN_CHARACTERS and not word.isdigit()}
    return frozenset(units | {("aspect", name) for name in aspects.found(text, words)})
