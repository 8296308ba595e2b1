"""The one function that scores what leaves a shard, and the fast guesses that choose what it scores.

Scores are similarities, higher is better: the inner product (of vectors of length 1 for cosine), or the negative squared distance.
A row's score does not depend on the index, the batch, the number of shards or the device; guesses do, in their last bits.

Legend: N rows, P positions of stored vectors, D dimension, Q queries, R candidates, A allowed rows.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reelspace.search.compute.library import faiss
from reelspace.search.storage.layout import Metric

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
MANY_QUERIES: Final = 8
# Guesses of equal rows differ by a few units in the last place, depending on where in a block they lie.
MARGIN: Final = np.float32(4e-6)


def faiss_metric(metric: Metric) -> int:
    """Give faiss' number of a metric; cosine is the inner product of what was scaled to length 1."""
    return int(faiss.METRIC_L2 if metric == "euclid" else faiss.METRIC_INNER_PRODUCT)


def stored_form(vectors_ND: Floats, metric: Metric) -> Floats:
    """Give checked vectors as they are stored: of length 1 for cosine, unchanged else."""
    if metric != "cosine":
        return np.ascontiguousarray(vectors_ND, dtype=np.float32)
    wide_ND = vectors_ND.astype(np.float64)
    lengths_N = np.sqrt(np.einsum("nd,nd->n", wide_ND, wide_ND))
    scaled_ND: Floats = (wide_ND / lengths_N[:, None]).astype(np.float32)
    return scaled_ND


def scores_at(vectors_QD: Floats, stored_PD: Floats, positions_QR: Ints, metric: Metric) -> Floats:
    """Score candidates, each with its own query; -inf for position -1.

    Args:
        stored_PD: in C order, as vectors_QD and positions_QR.
    """
    num_queries, width = positions_QR.shape
    found_QR = np.empty((num_queries, width), dtype=np.float32)
    if found_QR.size:
        score = faiss.fvec_L2sqr_by_idx if metric == "euclid" else faiss.fvec_inner_products_by_idx
        pointer = faiss.swig_ptr
        score(pointer(found_QR), pointer(vectors_QD), pointer(stored_PD), pointer(positions_QR), stored_PD.shape[1], num_queries, width)
    return np.negative(found_QR, out=found_QR) if metric == "euclid" else found_QR


@dataclass(frozen=True, slots=True)
class Compared:
    """Rows that are compared one by one: their vectors, and for euclid half their squared lengths."""

    vectors_AD: Floats
    half_squares_A: Floats | None

    @classmethod
    def of(cls, vectors_AD: Floats, metric: Metric) -> "Compared":
        """Prepare rows for guesses."""
        return cls(vectors_AD, np.einsum("ad,ad->a", vectors_AD, vectors_AD) / 2 if metric == "euclid" else None)

    @property
    def size_bytes(self) -> int:
        """Memory that they take."""
        return self.vectors_AD.nbytes

    def guesses(self, vectors_QD: Floats) -> Floats:
        """Guess the order of all rows for each query; only differences between the guesses of one query mean something."""
        num_queries, num_rows = len(vectors_QD), len(self.vectors_AD)
        if num_queries >= MANY_QUERIES:
            guesses_QA: Floats = vectors_QD @ self.vectors_AD.T
        else:
            # Not by numpy: its second thread often sleeps, and waking it takes longer than the products.
            guesses_QA = np.empty((num_queries, num_rows), dtype=np.float32)
            for vector_D, guesses_A in zip(vectors_QD, guesses_QA, strict=True):
                products(vector_D, self.vectors_AD, guesses_A)
        if self.half_squares_A is not None:
            guesses_QA -= self.half_squares_A
        return guesses_QA


def products(vector_D: Floats, vectors_AD: Floats, into_A: Floats) -> None:
    """Write the inner products of a vector with rows in C order."""
    if len(vectors_AD):
        pointer = faiss.swig_ptr
        faiss.fvec_inner_products_ny(pointer(into_A), pointer(vector_D), pointer(vectors_AD), vectors_AD.shape[1], len(vectors_AD))
