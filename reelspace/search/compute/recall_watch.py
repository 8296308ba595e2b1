"""Whether searches find what they should: some of the queries that are asked are held against all sealed rows, beside the searches.

What is written since the generation was built is taken as found: the newest rows are compared one by one anyway.

Legend: N rows, P sealed positions of one vector name, D dimension, K hits.
"""

import threading
import time
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reelspace.search.compute.scoring import Compared, Floats, stored_form
from reelspace.search.compute.shard import Shard
from reelspace.search.storage.layout import Metric

NUM_HITS: Final = 10
EVERY: Final = 16
"""Of so many queries one is kept; of those the last NUM_KEPT."""
NUM_KEPT: Final = 32
MIN_QUERIES: Final = 8
REST: Final = 100
"""So many times as long as a look takes is the time until the next one at least."""
CHUNK_ROWS: Final = 8192
CLOSE: Final = 1e-5


@dataclass(frozen=True, slots=True)
class Recall:
    """What a look came to: the share of the nearest that searches found, of how many queries, and what the index was built for."""

    found: float
    num_queries: int
    target: float


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A query that was asked."""

    vector_D: Floats
    using: str
    where: bytes


@dataclass(frozen=True, slots=True, eq=False)
class _Looked:
    """What a search found, and the sealed vectors that it might have found, as they are at the same moment."""

    vector_D: Floats
    scores_K: Floats
    is_sealed_K: NDArray[np.bool_]
    vectors_PD: Floats
    allowed_P: NDArray[np.bool_]
    metric: Metric
    target: float


class RecallWatch:
    """Keeps queries of one shard, and compares them when it is asked to.

    `see` belongs into the shard's turn; `look` takes it for a moment per query.
    """

    def __init__(self) -> None:
        self._kept: deque[_Asked] = deque(maxlen=NUM_KEPT)
        self._left = 1

    def see(self, vector_D: Floats, using: str, where: bytes, num: int = 1) -> None:
        """Hear of a query, the first of so many."""
        self._left -= num
        if self._left <= 0:
            self._left = EVERY
            self._kept.append(_Asked(np.array(vector_D, dtype=np.float32), using, where))

    def look(self, turn: AbstractContextManager[object], shard: Callable[[], Shard]) -> tuple[Shard, Recall] | None:
        """Answer kept queries once more and hold that against all sealed rows; None where too few can be.

        Args:
            turn: held while the shard is used.
            shard: gives it; where another one takes its place meanwhile the look is in vain.
        """
        with turn:
            before, asked = shard(), list(self._kept)
        looked: dict[str, list[_Looked]] = defaultdict(list)
        for one in asked:
            with turn:
                found = _looked(shard(), one) if shard() is before else None
            if found is not None:
                looked[one.using].append(found)
        shares = [(share, some[0].target) for some in looked.values() for share in _shares_found(some)]
        if len(shares) < MIN_QUERIES:
            return None
        found_share, target = np.mean(shares, axis=0)
        return before, Recall(float(found_share), len(shares), float(target))


def sampled_recall(turn: AbstractContextManager[object], shard: Shard, num_rows: int) -> Recall | None:
    """Search for some of the sealed rows of a shard and hold that against all of them; None where every row is compared anyway."""
    looked: dict[str, list[_Looked]] = defaultdict(list)
    for using, index in shard.indexes.items():
        places = np.linspace(0, index.num_sealed - 1, min(num_rows, index.num_sealed)).astype(np.int64)
        for vector_D in index.gather(np.unique(places)):
            with turn:
                found = _looked(shard, _Asked(vector_D, using, b""))
            if found is not None:
                looked[using].append(found)
    shares = [(share, some[0].target) for some in looked.values() for share in _shares_found(some)]
    if not shares:
        return None
    found_share, target = np.mean(shares, axis=0)
    return Recall(float(found_share), len(shares), float(target))


def _looked(shard: Shard, asked: _Asked) -> _Looked | None:
    index = shard.indexes[asked.using]
    if index.facts.index.kind == "flat" or not index.num_sealed:
        return None
    found = shard.search(asked.vector_D[None], NUM_HITS, using=asked.using, where=asked.where)
    rows_K = found.rows_QK[0][found.rows_QK[0] >= 0]
    last_sealed = int(index.rows(np.array([index.num_sealed - 1]))[0])
    metric = index.facts.metric
    return _Looked(
        stored_form(asked.vector_D[None], metric)[0],
        found.scores_QK[0][: len(rows_K)],
        rows_K <= last_sealed,
        index.sealed_vectors,
        index.sealed_mask(shard.allowed_rows(asked.where)),
        metric,
        index.facts.index.recall_target,
    )


def _shares_found(looked: Sequence[_Looked]) -> list[float]:
    """Give, by query, the share of the nearest rows that a search found, where those that are equally near count alike."""
    shares = []
    for one, best_K in zip(looked, _best_scores(looked), strict=True):
        nearest_K = np.sort(np.concatenate([best_K, one.scores_K[~one.is_sealed_K]]))[::-1][:NUM_HITS]
        least = nearest_K[-1] - CLOSE * max(1.0, float(abs(nearest_K[-1]))) if len(nearest_K) else 0.0
        shares.append(min(1.0, float(np.count_nonzero(one.scores_K >= least)) / len(nearest_K)) if len(nearest_K) else 1.0)
    return shares


def _best_scores(looked: Sequence[_Looked]) -> list[Floats]:
    """Compare with all sealed rows, a few rows with all queries at a time."""
    first = looked[0]
    vectors_QD = np.stack([one.vector_D for one in looked])
    squares_Q = np.einsum("qd,qd->q", vectors_QD, vectors_QD)
    best = [np.empty(0, dtype=np.float32)] * len(looked)
    for start in range(0, len(first.vectors_PD), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        guesses_QA = Compared.of(first.vectors_PD[rows], first.metric).guesses(vectors_QD)
        scores_QA = 2 * guesses_QA - squares_Q[:, None] if first.metric == "euclid" else guesses_QA
        for row, one in enumerate(looked):
            scores = np.concatenate([best[row], scores_QA[row][one.allowed_P[rows]]])
            best[row] = np.partition(scores, -NUM_HITS)[-NUM_HITS:] if len(scores) > NUM_HITS else scores
    return best


class Watching:
    """Looks again and again in a thread of its own; `recall` is what the last look came to."""

    def __init__(self, watch: RecallWatch, turn: AbstractContextManager[object], shard: Callable[[], Shard], period_s: float) -> None:
        self._watch, self._turn, self._shard, self._period_s = watch, turn, shard, period_s
        # Not the shard itself: one that another has replaced would stay in memory until the next look that comes to something.
        self._last: tuple[weakref.ref[Shard], Recall] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recall", daemon=True)
        self._thread.start()

    @property
    def recall(self) -> Recall | None:
        """Give what the last look came to, None before one, and for a shard that none looked at."""
        last = self._last
        return last[1] if last is not None and last[0]() is self._shard() else None

    def close(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        pause_s = self._period_s
        while not self._ended.wait(pause_s):
            begun_s = time.monotonic()
            looked = self._watch.look(self._turn, self._shard)
            if looked is not None:
                self._last = weakref.ref(looked[0]), looked[1]
                del looked
            pause_s = max(self._period_s, REST * (time.monotonic() - begun_s))
