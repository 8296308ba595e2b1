"""Comment filter: what viewers say about a work, without copies, spam, emoji, exclamations and what is said under anything.

Comments come in batches, each work whole in one. They are read twice: first what is said under how many works is counted by hashes, then
each batch is filtered and the best comments of each work are kept. What stays in memory is bounded by works * `pool_size`.
Legend: C comments, V works.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from math import log1p
from typing import Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from reelspace.core.captions import parse_caption
from reelspace.signals.comment_counts import WorkCounts, text_hashes_C
from reelspace.signals.comment_duplicates import near_copies, said_alike
from reelspace.signals.comment_rules import RULES, Limits, Remark, num_letters, said_form
from reelspace.signals.languages import Language, language_of
from reelspace.signals.lexicons import Lexicons
from reelspace.signals.normal_forms import NormalForms
from reelspace.signals.settings import CommentSettings
from reelspace.signals.tables import Comments, Stage, Works

_MIN_ANYTHING_WORKS: Final = 8
_REMEMBERED_FORMS: Final = 1 << 13
_REMEMBERED_CHARACTERS: Final = 64  # a longer text is seldom said twice
_CANDIDATES: Final = 4  # times the pool: so many are looked at for near copies, so that a loud work costs no more
_CANDIDATE_STAGE: Final = "candidates for the pool of their work"
_COPY_STAGE: Final = "not a near copy"
_POOL_STAGE: Final = "in the pool of their work"
_LONG_LETTERS: Final = 60  # a longer comment says no more

ReadBatches = Callable[[], Iterable[Comments]]


@dataclass(frozen=True, slots=True)
class GoodComments:
    """Comments that may speak for a work: row of the work, row in the comments read, normal form; by work."""

    work_C: NDArray[np.int64]
    row_C: NDArray[np.int64]
    normal: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MinedComments:
    """The pool of good comments; `good.row_C` are rows of `texts`, likes are those of all copies.

    `languages` names the language of each; `num_by_language` counts all different comments, dropped ones too.
    """

    good: GoodComments
    texts: tuple[str, ...]
    likes_C: NDArray[np.int64]
    languages: tuple[Language, ...]
    funnel: list[Stage]
    num_by_language: dict[Language, int]


@dataclass(frozen=True, slots=True)
class _Form:
    """What a text says; `said` of an emoji-only text are its emoji."""

    normal: str
    said: str


@dataclass(frozen=True, slots=True)
class _Kept:
    """One comment with the likes of its copies; `row` counts through all batches."""

    work: int
    row: int
    text: str
    form: _Form
    likes: int


def mine_comments(
    read_batches: ReadBatches,
    works: Works,
    forms: NormalForms,
    lexicons: Lexicons,
    settings: CommentSettings,
    own_comments: Iterable[Comments] = (),
) -> MinedComments:
    """Give the comments that may speak for their work, the best of each, and the funnel that led to them.

    Args:
        read_batches: gives the comments of viewers from the start each time it is called; each work lies whole in one batch.
        own_comments: batches of comments by the authors of their works: what they say is dropped when others repeat it.

    Cost: O(comments) time; memory for one batch, works * `pool_size` comments and 16 MiB of counts.
    """
    miner = _Miner(works, forms, lexicons, settings)
    for batch in own_comments:
        miner.note_own(batch)
    for batch in read_batches():
        miner.count(batch)
    for batch in read_batches():
        miner.filter(batch)
    return miner.mined(miner.pool())


def texts_by_work(comments: GoodComments, chosen: Sequence[int], texts: Sequence[str]) -> dict[int, list[str]]:
    """Group chosen comments by work, in the order chosen."""
    out: dict[int, list[str]] = {}
    for place in chosen:
        out.setdefault(int(comments.work_C[place]), []).append(texts[int(comments.row_C[place])])
    return out


class _Miner:
    """Goes over the batches and holds counts and the pool."""

    def __init__(self, works: Works, forms: NormalForms, lexicons: Lexicons, settings: CommentSettings) -> None:
        self._rows = works.rows()
        self._settings = settings
        self._forms = forms
        self._short_form = lru_cache(maxsize=_REMEMBERED_FORMS)(self._new_form)
        self._limits = Limits(
            settings.min_letters, max(_MIN_ANYTHING_WORKS, settings.max_work_share * len(works.ids_V)), lexicons.comment_spam
        )
        self._counts = WorkCounts()
        self._own = {
            _pair_hash(row, self._form(text).said)
            for row, (caption, cover_text) in enumerate(zip(works.captions, works.cover_texts, strict=True))
            for text in (parse_caption(caption).text, cover_text)
            if text
        }
        self._num_read = 0
        self._num_left: Counter[str] = Counter()
        self._num_by_language: Counter[Language] = Counter()
        self._seen_V = np.zeros(len(works.ids_V), dtype=bool)
        self._pool: list[_Kept] = []

    def note_own(self, batch: Comments) -> None:
        """Remember what authors say under their works, as hashes."""
        for video_id, text in zip(batch.video_ids_C.tolist(), batch.texts, strict=True):
            self._own.add(_pair_hash(self._rows[video_id], self._form(text).said))

    def count(self, batch: Comments) -> None:
        """Count what is said under how many works."""
        said = {(video_id, self._form(text).said) for video_id, text in zip(batch.video_ids_C.tolist(), batch.texts, strict=True)}
        self._counts.add(text_hashes_C(text for _, text in said))

    def filter(self, batch: Comments) -> None:
        """Filter one batch and keep the best of each of its works."""
        remarks = self._without_copies(batch)
        self._num_left["not a copy in other letters"] += len(remarks)
        self._num_by_language.update(language_of(remark.text) for remark in remarks)
        remarks = self._without_ruled_out(remarks)
        remarks = self._best_of_works(remarks, _CANDIDATES * self._settings.pool_size)
        self._num_left[_CANDIDATE_STAGE] += len(remarks)
        remarks = self._without_near_copies(remarks)
        self._num_left[_COPY_STAGE] += len(remarks)
        remarks = self._best_of_works(remarks, self._settings.pool_size)
        self._num_left[_POOL_STAGE] += len(remarks)
        works = sorted({remark.work for remark in remarks})
        assert not self._seen_V[works].any(), "a work lies in two batches"
        self._seen_V[works] = True
        self._pool += remarks

    def pool(self) -> list[_Kept]:
        """The kept comments by work, without those that are said under anything in nearly the same words."""
        works_of: dict[str, list[int]] = {}
        for remark in self._pool:
            works_of.setdefault(remark.form.said, []).append(remark.work)
        common = said_alike(
            list(works_of),
            [np.array(found, dtype=np.int64) for found in works_of.values()],
            self._limits.max_works,
            self._settings.min_copy_similarity,
        )
        return sorted((remark for remark in self._pool if remark.form.said not in common), key=lambda remark: (remark.work, remark.row))

    def mined(self, kept: list[_Kept]) -> MinedComments:
        """What is left, in columns, and how it came about."""
        stages = ("not a copy in other letters", *(rule.stage for rule in RULES), _CANDIDATE_STAGE, _COPY_STAGE, _POOL_STAGE)
        return MinedComments(
            good=GoodComments(
                work_C=np.array([remark.work for remark in kept], dtype=np.int64),
                row_C=np.arange(len(kept), dtype=np.int64),
                normal=tuple(remark.form.normal for remark in kept),
            ),
            texts=tuple(remark.text for remark in kept),
            likes_C=np.array([remark.likes for remark in kept], dtype=np.int64),
            languages=tuple(language_of(remark.text) for remark in kept),
            funnel=[
                *(Stage(stage, self._num_left[stage]) for stage in stages),
                Stage("not said under anything in nearly the same words", len(kept)),
            ],
            num_by_language=dict(sorted(self._num_by_language.items())),
        )

    def _form(self, text: str) -> _Form:
        return self._short_form(text) if len(text) <= _REMEMBERED_CHARACTERS else self._new_form(text)

    def _new_form(self, text: str) -> _Form:
        normal = self._forms.text(text)
        said = said_form(normal) or normal
        return _Form(normal, said)

    def _without_copies(self, batch: Comments) -> list[_Kept]:
        """One comment for all that say the same under a work: the one with the most likes, then the earliest."""
        best: dict[tuple[int, str], tuple[int, int, str, _Form]] = {}
        total: Counter[tuple[int, str]] = Counter()
        for video_id, text, likes in zip(batch.video_ids_C.tolist(), batch.texts, batch.likes_C.tolist(), strict=True):
            form = self._form(text)
            key = (self._rows[video_id], form.said)
            total[key] += likes
            if key not in best or likes > best[key][0]:
                best[key] = (likes, self._num_read, text, form)
            self._num_read += 1
        kept = [_Kept(key[0], row, text, form, total[key]) for key, (_, row, text, form) in best.items()]
        return sorted(kept, key=lambda remark: (remark.work, remark.row))

    def _without_ruled_out(self, remarks: list[_Kept]) -> list[_Kept]:
        num_works_C = self._counts.count_C(text_hashes_C(remark.form.said for remark in remarks))
        seen = [
            Remark(remark.form.normal, num_letters(remark.form.said), num_works, _pair_hash(remark.work, remark.form.said) in self._own)
            for remark, num_works in zip(remarks, num_works_C.tolist(), strict=True)
        ]
        left = list(range(len(remarks)))
        for rule in RULES:
            left = [place for place in left if not rule.drops(seen[place], self._limits)]
            self._num_left[rule.stage] += len(left)
        return [remarks[place] for place in left]

    def _best_of_works(self, remarks: list[_Kept], most: int) -> list[_Kept]:
        best: list[_Kept] = []
        for _, of_work in groupby(remarks, key=lambda remark: remark.work):
            found = sorted(of_work, key=lambda remark: (-_promise(remark), remark.row))[:most]
            best += sorted(found, key=lambda remark: remark.row)
        return best

    def _without_near_copies(self, remarks: list[_Kept]) -> list[_Kept]:
        if not remarks:
            return []
        order = sorted(range(len(remarks)), key=lambda place: (-remarks[place].likes, remarks[place].row))
        ranks_C = np.empty(len(remarks), dtype=np.int64)
        ranks_C[order] = np.arange(len(remarks))
        works_C = np.array([remark.work for remark in remarks], dtype=np.int64)
        stands_C = near_copies([remark.form.said for remark in remarks], works_C, ranks_C, self._settings.min_copy_similarity)
        likes_C = np.zeros(len(remarks), dtype=np.int64)
        np.add.at(likes_C, stands_C, np.array([remark.likes for remark in remarks], dtype=np.int64))
        standing = np.flatnonzero(stands_C == np.arange(len(remarks))).tolist()
        return [replace(remarks[place], likes=int(likes_C[place])) for place in standing]


def _pair_hash(work: int, said: str) -> int:
    return xxhash.xxh3_64_intdigest(said.encode(), seed=work)


def _promise(remark: _Kept) -> float:
    """How much a comment promises to say: liked and long ones first."""
    return log1p(max(remark.likes, 0)) + log1p(min(num_letters(remark.form.said), _LONG_LETTERS))
