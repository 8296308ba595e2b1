"""Merges the hits of several shards. Pure.

Legend: Q queries, K hits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from reelspace.core.errors import InternalError

NO_ID = -1
Number = TypeVar("Number", bound=np.generic)


class ShapeMismatch(InternalError):
    """Shards answered for different numbers of queries."""


@dataclass(frozen=True, slots=True)
class Hits:
    """ids_QK int64 and scores_QK float32, each row by falling score; missing hits are id -1 with score -inf, at the end."""

    ids_QK: NDArray[np.int64]
    scores_QK: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Merged:
    """Merged hits, and where each came from: parts_QK the position of its shard, columns_QK its column there."""

    hits: Hits
    parts_QK: NDArray[np.int64]
    columns_QK: NDArray[np.int64]


def merge_hits(parts: Sequence[Hits], k: int) -> Merged:
    """Merge the best hits of several shards into one ranking.

    Args:
        parts: one per shard, at least one; an id is in one shard only.
        k: hits kept per query, at least 1; rows shorter than k are padded with id -1 and score -inf.

    Returns:
        Hits for the same Q queries; equal scores are ordered by id, so results repeat.

    Raises:
        ShapeMismatch: parts disagree on Q; the message gives each shard's Q.

    Units: scores are inner products of unit vectors, -1 to 1. Cost: O(Q * K * parts * log) time.
    """
    num_queries = [len(part.ids_QK) for part in parts]
    if len(set(num_queries)) != 1:
        raise ShapeMismatch(f"expected every shard to answer the same queries, they answered {num_queries}")
    ids_QR = np.concatenate([part.ids_QK for part in parts], axis=1)
    scores_QR = np.concatenate([part.scores_QK for part in parts], axis=1)
    parts_R = np.concatenate([np.full(part.ids_QK.shape[1], number) for number, part in enumerate(parts)])
    columns_R = np.concatenate([np.arange(part.ids_QK.shape[1]) for part in parts])
    order_QK = np.lexsort((ids_QR, -scores_QR), axis=1)[:, :k]
    hits = Hits(_padded(np.take_along_axis(ids_QR, order_QK, 1), k, NO_ID), _padded(np.take_along_axis(scores_QR, order_QK, 1), k, -np.inf))
    return Merged(hits, _padded(parts_R[order_QK], k, 0), _padded(columns_R[order_QK], k, 0))


def _padded(values_QR: NDArray[Number], k: int, value: float) -> NDArray[Number]:
    missing = k - values_QR.shape[1]
    return np.pad(values_QR, ((0, 0), (0, missing)), constant_values=value) if missing > 0 else values_QR
