"""Spellings: which tags are one label, each merge with its evidence.

A tag is merged into a more frequent one when it differs by a letter, is no dictionary word, is not said elsewhere and has the same
contexts; or when it differs altogether, but has nearly the same contexts and around most works that carry it people say the other one.
Tags with different numbers stay apart. The target of a merge is never merged itself.
Legend: T tags, K dimension of contexts, H heads (tags that others may join).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reelspace.signals.contexts import unit
from reelspace.signals.normal_forms import has_han
from reelspace.signals.settings import SpellingSettings

Kind = Literal["spelling", "synonym"]
_MIN_LATIN_LETTERS = 4
_MIN_HAN_LETTERS = 2
_MIN_HAN_ADDED_TO = 6  # a character more in a short Chinese word makes another word
_MIN_SAYING_WORKS = 2


@dataclass(frozen=True, slots=True)
class Merge:
    """One tag that became another, and why: cosine of contexts, share of its works around which the other is said."""

    tag: str
    into: str
    kind: Kind
    similarity: float
    overlap: float


@dataclass(frozen=True, slots=True)
class TagUsage:
    """How T tags are used.

    Args:
        profiles_TK: sum of the contexts of each tag's works.
        carried_by: rows of the works that carry each tag.
        said_by: rows of the works whose words or satisfied queries or comments say it.
        is_ordinary_T: which tags are dictionary words, or made of them.
    """

    tags: Sequence[str]
    num_works_T: NDArray[np.int64]
    profiles_TK: NDArray[np.float64]
    carried_by: Sequence[frozenset[int]]
    said_by: Sequence[frozenset[int]]
    is_ordinary_T: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Bar:
    """What a merge of a kind needs at least."""

    kind: Kind
    similarity: float
    overlap: float


def find_merges(usage: TagUsage, settings: SpellingSettings) -> list[Merge]:
    """Find the merges, in the order of the merged tag."""
    order = sorted(range(len(usage.tags)), key=lambda tag: (_is_only_carried(usage, tag), -int(usage.num_works_T[tag]), usage.tags[tag]))
    directions_TK = unit(usage.profiles_TK)
    spelled_like = one_letter_apart(usage.tags)
    heads: list[int] = []
    not_slips: set[int] = set()
    merges: dict[int, Merge] = {}
    for tag in order:  # slips and rare ones last: each tag either joins a head or becomes one
        merge = _as_slip(tag, not_slips & spelled_like[tag], directions_TK, usage, settings)
        if merge is not None:
            meant = merges.get(merge[0])
            merges[tag] = replace(merge[1], into=meant.into) if meant else merge[1]
            continue
        not_slips.add(tag)
        if usage.num_works_T[tag] >= settings.min_synonym_works:
            merge = _as_synonym(tag, heads, directions_TK, usage, settings)
            if merge is None:
                heads.append(tag)
            else:
                merges[tag] = merge[1]
    return [merges[tag] for tag in sorted(merges)]


def canonical_tags(merges: Sequence[Merge]) -> Mapping[str, str]:
    """The tag that each merged tag became."""
    return {merge.tag: merge.into for merge in merges}


def _is_only_carried(usage: TagUsage, tag: int) -> bool:
    """Whether nobody says the tag around works that do not carry it: a slip of the pen is rarely searched for."""
    return len(usage.said_by[tag] - usage.carried_by[tag]) < _MIN_SAYING_WORKS


def _as_slip(
    tag: int, tags: set[int], directions_TK: NDArray[np.float64], usage: TagUsage, settings: SpellingSettings
) -> tuple[int, Merge] | None:
    if not _is_only_carried(usage, tag) or usage.is_ordinary_T[tag]:
        return None
    meant = sorted(other for other in tags if _may_be_meant(usage, other))
    return _nearest(tag, meant, _Bar("spelling", settings.min_spelling_similarity, 0.0), directions_TK, usage)


def _as_synonym(
    tag: int, heads: list[int], directions_TK: NDArray[np.float64], usage: TagUsage, settings: SpellingSettings
) -> tuple[int, Merge] | None:
    bar = _Bar("synonym", settings.min_synonym_similarity, settings.min_synonym_overlap)
    return _nearest(tag, heads, bar, directions_TK, usage)


def _nearest(tag: int, heads: list[int], bar: _Bar, directions_TK: NDArray[np.float64], usage: TagUsage) -> tuple[int, Merge] | None:
    """The head with the most similar contexts that has enough of both, and the merge with it; of equal ones the first."""
    if not heads:
        return None
    similarity_H = (directions_TK[heads] @ directions_TK[tag]).round(6)
    for place in np.argsort(-similarity_H, kind="stable").tolist():
        similarity = float(similarity_H[place])
        if similarity < bar.similarity:
            return None
        carried = usage.carried_by[tag]
        overlap = round(len(carried & usage.said_by[heads[place]]) / max(len(carried), 1), 6)
        if overlap >= bar.overlap and _digits(usage.tags[tag]) == _digits(usage.tags[heads[place]]):
            return heads[place], Merge(usage.tags[tag], usage.tags[heads[place]], bar.kind, similarity, overlap)
    return None


def _may_be_meant(usage: TagUsage, tag: int) -> bool:
    """Whether a slip may stand for the tag; of Chinese tags only dictionary words, as most other pairs a character apart are two names."""
    return bool(usage.is_ordinary_T[tag]) or not has_han(usage.tags[tag])


def one_letter_apart(tags: Sequence[str]) -> list[frozenset[int]]:
    """Per tag, the tags at Damerau distance 1 with the same digits; found through the forms with one letter left out."""
    by_form: dict[str, list[int]] = {}
    for index, tag in enumerate(tags):
        for form in _forms(tag):
            by_form.setdefault(form, []).append(index)
    near: list[set[int]] = [set() for _ in tags]
    for group in by_form.values():
        for place, first in enumerate(group):
            for second in group[place + 1 :]:
                if _is_slip(tags[first], tags[second]):
                    near[first].add(second)
                    near[second].add(first)
    return [frozenset(others) for others in near]


def _forms(tag: str) -> set[str]:
    least = _MIN_HAN_LETTERS if has_han(tag) else _MIN_LATIN_LETTERS
    return {tag, *(tag[:place] + tag[place + 1 :] for place in range(len(tag)))} if len(tag) >= least else set()


def _is_slip(first: str, second: str) -> bool:
    if first == second or _digits(first) != _digits(second):
        return False
    if len(first) == len(second):
        differing = [place for place in range(len(first)) if first[place] != second[place]]
        swapped = (
            len(differing) == 2
            and differing[1] == differing[0] + 1
            and first[differing[0]] == second[differing[1]]
            and first[differing[1]] == second[differing[0]]
        )
        return len(differing) == 1 or swapped
    longer = max(len(first), len(second))
    return abs(len(first) - len(second)) == 1 and (longer >= _MIN_HAN_ADDED_TO or not has_han(first + second))


def _digits(text: str) -> str:
    return "".join(letter for letter in text if letter.isdigit())
