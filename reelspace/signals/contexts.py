"""Contexts: a vector per work and per word, from the words that the author, searchers and commenters use around works.

Words that occur with the same works end up near each other (latent semantic analysis: Deerwester et al. 1990; the decomposition is
the randomised one of Halko, Martinsson and Tropp 2011). Hashtags are left out, so that they can be judged by their contexts.
Machines differ in the last bits of these vectors: who decides by them rounds first.
Legend: V works, W words, N entries of the sparse matrix, K dimension.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelspace.core.rng import rng
from reelspace.signals.settings import ContextSettings

_MIN_WORKS = 2
_MAX_WORK_SHARE = 0.4
_CHUNK_ENTRIES = 1 << 18


@dataclass(frozen=True, slots=True)
class Contexts:
    """Unit vectors, or zero for works without known words; `words` gives the row of each word."""

    works_VK: NDArray[np.float64]
    words: Mapping[str, int]
    words_WK: NDArray[np.float64]

    def word_vector(self, words: Sequence[str]) -> NDArray[np.float64] | None:
        """The common direction of words; None if none is known."""
        rows = [self.words[word] for word in words if word in self.words]
        return unit(self.words_WK[rows].sum(axis=0)) if rows else None

    def has_context_V(self) -> NDArray[np.bool_]:
        """Which works have known words."""
        return np.asarray((self.works_VK != 0).any(axis=1))


@dataclass(frozen=True, slots=True)
class _Sparse:
    """A matrix by rows: entries of row r are [starts[r], starts[r + 1])."""

    starts_R: NDArray[np.int64]
    columns_N: NDArray[np.int64]
    values_N: NDArray[np.float64]

    def times(self, dense_CK: NDArray[np.float64]) -> NDArray[np.float64]:
        """The product with a dense matrix, in bounded memory."""
        num_rows = len(self.starts_R) - 1
        out = np.zeros((num_rows, dense_CK.shape[1]))
        row = 0
        while row < num_rows:
            end = int(np.searchsorted(self.starts_R, self.starts_R[row] + _CHUNK_ENTRIES, side="right")) - 1
            end = min(max(end, row + 1), num_rows)
            first, last = int(self.starts_R[row]), int(self.starts_R[end])
            filled = np.flatnonzero(np.diff(self.starts_R[row : end + 1]))
            if len(filled):
                products = self.values_N[first:last, None] * dense_CK[self.columns_N[first:last]]
                out[row + filled] = np.add.reduceat(products, self.starts_R[row + filled] - first, axis=0)
            row = end
        return out


def build_contexts(words_of_works: Sequence[Mapping[str, float]], settings: ContextSettings) -> Contexts:
    """Give a vector to every work and word.

    Args:
        words_of_works: per work the weight of each of its words.

    Cost: O(entries * dimension * iterations) time, O((V + W) * dimension) memory.
    """
    num_works = len(words_of_works)
    words, idf_W = _vocabulary(words_of_works)
    by_work, by_word = _matrices(words_of_works, words, idf_W)
    if len(words) < 2:
        return Contexts(np.zeros((num_works, 1)), {}, np.zeros((0, 1)))
    dimension = min(settings.dimension, len(words), num_works)
    start_WK = rng(settings.seed, "contexts").standard_normal((len(words), dimension))
    basis_VK = _orthonormal(by_work.times(start_WK))
    for _ in range(settings.num_iterations):
        basis_VK = _orthonormal(by_work.times(_orthonormal(by_word.times(basis_VK))))
    projected_WK = by_word.times(basis_VK)
    works_VK = by_work.times(projected_WK)  # words weigh by their strength in the kept directions
    return Contexts(unit(works_VK), words, unit(projected_WK))


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The vectors scaled to length 1 along the last axis; zero stays zero."""
    length = np.sqrt((vectors**2).sum(axis=-1, keepdims=True))
    return np.asarray(np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-12))


def _vocabulary(words_of_works: Sequence[Mapping[str, float]]) -> tuple[dict[str, int], NDArray[np.float64]]:
    counts: dict[str, int] = {}
    for weights in words_of_works:
        for word in weights:
            counts[word] = counts.get(word, 0) + 1
    most = max(_MIN_WORKS, _MAX_WORK_SHARE * len(words_of_works))
    kept = sorted(word for word, count in counts.items() if _MIN_WORKS <= count <= most)
    idf_W = np.log(len(words_of_works) / np.array([counts[word] for word in kept], dtype=np.float64))
    return {word: row for row, word in enumerate(kept)}, idf_W


def _matrices(
    words_of_works: Sequence[Mapping[str, float]], words: Mapping[str, int], idf_W: NDArray[np.float64]
) -> tuple[_Sparse, _Sparse]:
    """The matrix of works and words and its transpose; rows of works have length 1."""
    entries = [
        (row, words[word], weight) for row, weights in enumerate(words_of_works) for word, weight in weights.items() if word in words
    ]
    rows_N = np.array([entry[0] for entry in entries], dtype=np.int64)
    columns_N = np.array([entry[1] for entry in entries], dtype=np.int64)
    values_N = np.array([entry[2] for entry in entries], dtype=np.float64) * idf_W[columns_N]
    length_V = np.sqrt(np.bincount(rows_N, weights=values_N**2, minlength=len(words_of_works)))
    values_N /= length_V[rows_N]
    return _by_row(rows_N, columns_N, values_N, len(words_of_works)), _by_row(columns_N, rows_N, values_N, len(words))


def _by_row(rows_N: NDArray[np.int64], columns_N: NDArray[np.int64], values_N: NDArray[np.float64], num_rows: int) -> _Sparse:
    order = np.lexsort((columns_N, rows_N))
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows_N, minlength=num_rows))]).astype(np.int64)
    return _Sparse(starts, columns_N[order], values_N[order])


def _orthonormal(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.qr(matrix)[0])
