"""The usual lone query in a third of the time: one vector, nothing deleted or new, no tie.

A query in a caller's own process takes 50 microseconds of faiss; what numpy and the general path add would be more than that. So
buffers are kept, faiss is called by pointers, and some dozens of numbers are handled as lists. Whatever is not usual is left to
Shard.search, which gives the same answers.

Legend: R candidates, D dimension, A allowed rows.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from reelspace.search.compute.library import faiss
from reelspace.search.compute.scoring import Floats, Ints
from reelspace.search.storage.layout import Metric

FEW: Final = 64
NOTHING: Final = -3e38


Found = tuple[list[int], list[float]]
"""Positions and scores of the hits, best first."""


class Buffers:
    """Arrays that faiss writes into, for one thread at a time."""

    def __init__(self, num: int) -> None:
        self.num = num
        self.guesses_R: Floats = np.empty(num, dtype=np.float32)
        self.scores_R: Floats = np.empty(num, dtype=np.float32)
        self.positions_R: Ints = np.empty(num, dtype=np.int64)
        self._pointers = [faiss.swig_ptr(one) for one in (self.guesses_R, self.scores_R, self.positions_R)]

    def search(self, index: Any, vector_D: Floats, parameters: Any) -> None:
        """Let an index write its candidates."""
        guesses, _, positions = self._pointers
        index.search_c(1, faiss.swig_ptr(vector_D), self.num, guesses, positions, parameters)

    def compare(self, vector_D: Floats, vectors_AD: Floats, metric: Metric) -> None:
        """Write the best of rows that are all compared, places for positions; there are at least as many rows as candidates."""
        compare = faiss.knn_L2sqr if metric == "euclid" else faiss.knn_inner_product
        guesses, _, positions = self._pointers
        size = len(vectors_AD), self.num
        compare(faiss.swig_ptr(vector_D), faiss.swig_ptr(vectors_AD), vectors_AD.shape[1], 1, *size, guesses, positions)

    def score(self, vector_D: Floats, stored_PD: Floats, metric: Metric, num: int) -> list[float]:
        """Score the first candidates from the stored vectors."""
        _, scores, positions = self._pointers
        score = faiss.fvec_L2sqr_by_idx if metric == "euclid" else faiss.fvec_inner_products_by_idx
        score(scores, faiss.swig_ptr(vector_D), faiss.swig_ptr(stored_PD), positions, stored_PD.shape[1], 1, num)
        found: list[float] = self.scores_R[:num].tolist()
        return [-one for one in found] if metric == "euclid" else found


def best(scores: Sequence[float], positions: Sequence[int], guesses: Sequence[float], k: int, margin: float) -> Found | None:
    """Give the k best, or None where a tie, or a row that is no candidate, may matter.

    Args:
        guesses: of the candidates, and at the end the highest that a row that is no candidate may have.
        margin: by how much that one may be too low.
    """
    order = leading(scores, k)
    if order is None:
        return None
    last = guesses[-1]
    if last > NOTHING and last >= min([guesses[place] for place in order]) - margin:
        return None
    return [positions[place] for place in order], [scores[place] for place in order]


def leading(scores: Sequence[float], k: int) -> list[int] | None:
    """Give the places of the k best scores, best first; None where there are fewer, or equal ones among them or the next.

    Over some dozens of numbers, lists are faster than arrays.
    """
    order = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[: k + 1]
    top = [scores[place] for place in order]
    if top[k - 1] < NOTHING or len(set(top)) <= k:
        return None
    return order[:k]


def at_least(guesses_A: Floats, num: int, block: int = 32) -> NDArray[np.int64]:
    """Give places that hold the `num` best guesses, and few others: those no worse than the num-th best maximum of a block."""
    num_blocks = len(guesses_A) // block
    if num_blocks <= 2 * num:
        return np.argpartition(guesses_A, len(guesses_A) - num)[len(guesses_A) - num :]
    maxima = guesses_A[: num_blocks * block].reshape(num_blocks, block).max(axis=1)
    return np.flatnonzero(guesses_A >= np.partition(maxima, num_blocks - num)[num_blocks - num])
