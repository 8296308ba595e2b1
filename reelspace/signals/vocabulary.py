"""Vocabulary: the labels, and which work has which label with what weight and why.

A label is a cleaned hashtag (spellings merged), a keyword of satisfied queries, or both.
Legend: L labels, E work-label entries, S signals (one moment at which an entry was seen).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import orjson
from numpy.typing import NDArray

from reelspace.signals.cleaning import CleanTags
from reelspace.signals.keywords import Keyword
from reelspace.signals.settings import VocabularySettings
from reelspace.signals.tables import Pairs, Works

_USERS_AT_HALF = 2.0  # so many satisfied people make a keyword as likely right as wrong


@dataclass(frozen=True, slots=True)
class Labels:
    """L labels, the most frequent first, and E entries by work, then label; times in microseconds.

    A label here is its row, 0 to L - 1; the id that outlives this version is given by `vocabulary_history`.
    The S signals are, by entry, then time: the upload for a hashtag, the first and the last satisfied click for a query.
    """

    texts: tuple[str, ...]
    num_tag_works_L: NDArray[np.int64]
    num_query_works_L: NDArray[np.int64]
    first_us_L: NDArray[np.int64]
    work_E: NDArray[np.int64]
    label_E: NDArray[np.int64]
    weight_E: NDArray[np.float32]
    from_tags_E: NDArray[np.bool_]
    from_queries_E: NDArray[np.bool_]
    evidence_E: tuple[str, ...]
    entry_S: NDArray[np.int64]
    time_us_S: NDArray[np.int64]

    def number(self) -> dict[str, int]:
        """Give the row of each label's text."""
        return {text: label for label, text in enumerate(self.texts)}

    def num_works_L(self) -> NDArray[np.int64]:
        """The number of works of each label."""
        return np.bincount(self.label_E, minlength=len(self.texts)).astype(np.int64)


@dataclass(slots=True)
class _Entry:
    """Why one work has one label: hashtags as written with their score, queries with the number of people."""

    tags: dict[str, float] = field(default_factory=dict)
    queries: dict[str, int] = field(default_factory=dict)
    times_us: set[int] = field(default_factory=set)

    def weight(self) -> float:
        return certainty(self.tags, self.queries)

    def json(self) -> str:
        return orjson.dumps({"queries": self.queries, "tags": self.tags}, option=orjson.OPT_SORT_KEYS).decode()


def certainty(tags: Mapping[str, float], queries: Mapping[str, int]) -> float:
    """Give the chance that at least one of a label's best hashtag (by score) and its queries' people is right."""
    num_users = sum(queries.values())
    return 1.0 - (1.0 - max(tags.values(), default=0.0)) * (1.0 - num_users / (num_users + _USERS_AT_HALF))


def build_labels(
    clean: CleanTags,
    keywords: Sequence[Keyword],
    pairs: Pairs,
    canonical: Mapping[str, str],
    works: Works,
    settings: VocabularySettings,
) -> Labels:
    """Join kept hashtags and keywords into labels.

    Args:
        canonical: tag that a merged tag became; keywords follow it too.
    """
    entries: dict[tuple[str, int], _Entry] = {}
    uses = clean.evidence.uses
    for row in np.flatnonzero(clean.kept_U).tolist():
        work = int(uses.work_U[row])
        entry = entries.setdefault((uses.tags[int(uses.tag_U[row])], work), _Entry())
        entry.tags[uses.raws[row]] = round(float(clean.score_U[row]), 4)
        entry.times_us.add(int(works.created_us_V[work]))
    for keyword in keywords:
        entry = entries.setdefault((canonical.get(keyword.word, keyword.word), keyword.work), _Entry())
        entry.queries[pairs.queries[keyword.pair]] = int(pairs.num_users_P[keyword.pair])
        entry.times_us |= {int(pairs.first_us_P[keyword.pair]), int(pairs.last_us_P[keyword.pair])}
    return _numbered(entries, settings)


def _numbered(entries: Mapping[tuple[str, int], _Entry], settings: VocabularySettings) -> Labels:
    by_text: dict[str, list[int]] = {}
    for text, work in entries:
        by_text.setdefault(text, []).append(work)
    texts = sorted(
        (text for text, found in by_text.items() if len(found) >= settings.min_works), key=lambda text: (-len(by_text[text]), text)
    )
    number = {text: label for label, text in enumerate(texts)}
    order = sorted((work, number[text], text) for text, work in entries if text in number)
    found = [entries[text, work] for work, _, text in order]
    label_E = np.array([label for _, label, _ in order], dtype=np.int64)
    from_tags_E = np.array([bool(entry.tags) for entry in found], dtype=bool)
    from_queries_E = np.array([bool(entry.queries) for entry in found], dtype=bool)
    first_us_L = np.full(len(texts), 2**62, dtype=np.int64)
    np.minimum.at(first_us_L, label_E, np.array([min(entry.times_us) for entry in found], dtype=np.int64))
    signals = [(row, time_us) for row, entry in enumerate(found) for time_us in sorted(entry.times_us)]
    return Labels(
        texts=tuple(texts),
        num_tag_works_L=np.bincount(label_E[from_tags_E], minlength=len(texts)).astype(np.int64),
        num_query_works_L=np.bincount(label_E[from_queries_E], minlength=len(texts)).astype(np.int64),
        first_us_L=first_us_L,
        work_E=np.array([work for work, _, _ in order], dtype=np.int64),
        label_E=label_E,
        weight_E=np.array([round(entry.weight(), 4) for entry in found], dtype=np.float32),
        from_tags_E=from_tags_E,
        from_queries_E=from_queries_E,
        evidence_E=tuple(entry.json() for entry in found),
        entry_S=np.array([row for row, _ in signals], dtype=np.int64),
        time_us_S=np.array([time_us for _, time_us in signals], dtype=np.int64),
    )
