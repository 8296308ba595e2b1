"""Merges the hits of several shards. Pure.

Legend: Q queries, K hits, R hits of all shards side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelspace.core.errors import InternalError
from reelspace.search.compute.queries import ShardAnswer
from reelspace.search.storage.ids import NO_ID, NUM_WORDS

Ints = NDArray[np.int64]


class ShapeMismatch(InternalError):
    """Shards answered for different numbers of queries."""


@dataclass(frozen=True, slots=True)
class Merged:
    """Merged hits, and where each came from: parts_QK the position of its shard, columns_QK its column there.

    A missing hit has the id kind NO_ID and the score -inf, and stands at the end.
    """

    ids_QK3: NDArray[np.uint64]
    scores_QK: NDArray[np.float32]
    parts_QK: Ints
    columns_QK: Ints

    def num_hits(self, query: int, k: int) -> int:
        """Count the hits among a query's first k."""
        kinds_K = self.ids_QK3[query, :k, 0]
        if not len(kinds_K) or kinds_K[-1] != NO_ID:
            return len(kinds_K)
        return int((kinds_K != NO_ID).sum())


def merge_answers(parts: Sequence[ShardAnswer], k: int) -> Merged:
    """Merge the best hits of several shards into one ranking.

    Args:
        parts: one per shard, at least one, each row by falling score and equal scores by id; an id is in one shard only.
        k: hits kept per query, at least 1.

    Returns:
        At most k hits for each of the same Q queries; equal scores are ordered by id, so results repeat.

    Raises:
        ShapeMismatch: parts disagree on Q; the message gives each shard's Q.

    Cost: one shard's answer is taken as it is; of several, O(Q * K * parts * log), four times that where scores are equal.
    """
    num_queries = [len(part.scores_QK) for part in parts]
    if len(set(num_queries)) != 1:
        raise ShapeMismatch(f"expected every shard to answer the same queries, they answered {num_queries}")
    if len(parts) == 1:
        ids_QK3, scores_QK = parts[0].ids_QK3[:, :k], parts[0].scores_QK[:, :k]
        columns_QK = np.broadcast_to(np.arange(scores_QK.shape[1]), scores_QK.shape)
        return Merged(ids_QK3, scores_QK, np.broadcast_to(np.int64(0), scores_QK.shape), columns_QK)
    ids_QR3 = np.concatenate([part.ids_QK3 for part in parts], axis=1)
    scores_QR = np.concatenate([part.scores_QK for part in parts], axis=1)
    order_QK = _order(ids_QR3, scores_QR, k)
    parts_R = np.concatenate([np.full(part.scores_QK.shape[1], number) for number, part in enumerate(parts)])
    columns_R = np.concatenate([np.arange(part.scores_QK.shape[1]) for part in parts])
    rows_Q1 = np.arange(len(scores_QR))[:, None]
    return Merged(ids_QR3[rows_Q1, order_QK], scores_QR[rows_Q1, order_QK], parts_R[order_QK], columns_R[order_QK])


def _order(ids_QR3: NDArray[np.uint64], scores_QR: NDArray[np.float32], k: int) -> Ints:
    """Give the places of the best k of each row, by falling score, equal ones by id."""
    order_QR: Ints = np.argsort(-scores_QR, axis=1, kind="stable")
    # One more than asked for: a tie across the last place counts, too. Missing hits tie with each other, which says nothing.
    best_QK = np.take_along_axis(scores_QR, order_QR[:, : k + 1], axis=1)
    tied_Q = ((best_QK[:, 1:] == best_QK[:, :-1]) & (best_QK[:, 1:] > -np.inf)).any(axis=1)
    for query in np.flatnonzero(tied_Q):
        words = [ids_QR3[query, :, word] for word in reversed(range(NUM_WORDS))]
        order_QR[query] = np.lexsort((*words, -scores_QR[query]))
    return order_QR[:, :k]
