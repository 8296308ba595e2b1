"""Comment choice: a few comments per work that fit it and differ from each other (maximal marginal relevance, Carbonell 1998).

Legend: C comments of one work, K dimension of contexts.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from reelspace.signals.comment_filter import GoodComments
from reelspace.signals.contexts import Contexts, unit
from reelspace.signals.settings import CommentSettings

_POOL = 128  # the most relevant ones of a work compete; a work with thousands costs no more
_LIKES_COUNT = 0.02


def choose_comments(
    comments: GoodComments, likes_C: NDArray[np.int64], words: Callable[[str], Sequence[str]], contexts: Contexts, settings: CommentSettings
) -> list[int]:
    """Give the chosen comments as positions in `comments`, work after work, the best first.

    A comment without a word that is known around works is never chosen.
    """
    bounds = np.flatnonzero(np.diff(comments.work_C, prepend=-1, append=-1))
    chosen: list[int] = []
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        # Vectors are made for one work at a time: those of all comments together would outweigh everything else here.
        cut = [words(text) for text in comments.normal[start:end]]
        vectors = [contexts.word_vector(words_of_text) for words_of_text in cut]
        known = [place for place, vector in enumerate(vectors) if vector is not None]
        if known:
            work_K = contexts.works_VK[int(comments.work_C[start])]
            fit_C = unit(np.array([vectors[place] for place in known])) @ work_K
            fitting = [place for place, fit in zip(known, fit_C.round(6).tolist(), strict=True) if fit >= settings.min_relevance]
            likes = likes_C[[start + place for place in fitting]]
            relevance_C = (fit_C[np.isin(known, fitting)] + _LIKES_COUNT * np.log1p(likes)).round(6)
            best = _choose(fitting, relevance_C, [frozenset(cut[place]) for place in fitting], settings)
            chosen += [start + place for place in best]
    return chosen


def _choose(
    places: Sequence[int], relevance_C: NDArray[np.float64], words_C: Sequence[frozenset[str]], settings: CommentSettings
) -> list[int]:
    pool = np.argsort(-relevance_C, kind="stable")[:_POOL].tolist()
    overlap = dict.fromkeys(pool, 0.0)
    chosen: list[int] = []
    while pool and len(chosen) < settings.max_comments:
        value = {row: settings.relevance_share * float(relevance_C[row]) - (1 - settings.relevance_share) * overlap[row] for row in pool}
        best = max(pool, key=lambda row: (round(value[row], 6), -row))
        chosen.append(best)
        pool.remove(best)
        for row in pool:
            union = len(words_C[row] | words_C[best])
            overlap[row] = max(overlap[row], len(words_C[row] & words_C[best]) / union if union else 1.0)
    return [places[row] for row in chosen]
