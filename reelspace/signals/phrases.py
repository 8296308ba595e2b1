"""Phrases: neighbouring words that belong together, learnt from how people write (`film roll`, and names no dictionary has)."""

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from itertools import groupby, pairwise

from reelspace.signals.normal_forms import has_han

_MIN_COUNT = 3
_MIN_BOND = 0.5  # share of each word's occurrences that are in the phrase


class Phrases:
    """Joins the words of a text where they form a known phrase.

    Args:
        texts: the words of many texts; two words are joined when each comes with the other at least half of the times. A
            phrase has at most four words.
    """

    def __init__(self, texts: Iterable[Sequence[str]]) -> None:
        current = [tuple(words) for words in texts]
        self._rounds = [_bonds(current)]
        joined = [_joined(words, self._rounds[0]) for words in current]
        single = {word for words in current for word in words}
        longer = _bonds(joined)  # a phrase may grow; two single words that did not bond at first do not bond now
        self._rounds.append(frozenset(pair for pair in longer if not single.issuperset(pair)))

    def join(self, words: Sequence[str]) -> tuple[str, ...]:
        """The words with phrases as one word each: Chinese ones without, others with a space between."""
        joined = tuple(words)
        for bonds in self._rounds:
            joined = _joined(joined, bonds)
        return joined


def content_runs(words: Sequence[str], templates: Container[str]) -> list[tuple[str, ...]]:
    """The runs of words between template words: phrases do not reach over a word that is left out."""
    return [tuple(run) for is_template, run in groupby(words, templates.__contains__) if not is_template]


def _bonds(texts: Sequence[Sequence[str]]) -> frozenset[tuple[str, str]]:
    words = Counter(word for text in texts for word in text)
    pairs = Counter(pair for text in texts for pair in pairwise(text))
    return frozenset(
        pair for pair, count in pairs.items() if count >= _MIN_COUNT and count >= _MIN_BOND * max(words[pair[0]], words[pair[1]])
    )


def _joined(words: Sequence[str], bonds: frozenset[tuple[str, str]]) -> tuple[str, ...]:
    out: list[str] = []
    place = 0
    while place < len(words):
        if tuple(words[place : place + 2]) in bonds:
            first, second = words[place], words[place + 1]
            out.append(f"{first}{second}" if has_han(first) and has_han(second) else f"{first} {second}")
            place += 2
        else:
            out.append(words[place])
            place += 1
    return tuple(out)
