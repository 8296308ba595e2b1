"""Merges what several shards answered: hits, rows, counts. Pure.

Legend: Q queries, K hits, R hits of all shards side by side.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import accumulate, islice

import numpy as np
from numpy.typing import NDArray

from reelspace.core.errors import InternalError
from reelspace.search.compute.queries import ReadAnswer, Record, ShardAnswer
from reelspace.search.storage.ids import NO_ID, NUM_WORDS, Id, id_order, ids_of_words

Ints = NDArray[np.int64]


class ShapeMismatch(InternalError):
    """Shards answered for different numbers of queries."""


@dataclass(frozen=True, slots=True)
class Merged:
    """Merged hits; a missing one has the id kind NO_ID and the score -inf, and stands at the end.

    Attributes:
        order_QK: where each hit was in the answers of all shards side by side; None for one shard's, which are where they were.
        starts: where each shard's answers begin side by side.
    """

    ids_QK3: NDArray[np.uint64]
    scores_QK: NDArray[np.float32]
    order_QK: Ints | None = None
    starts: Sequence[int] = (0,)

    def ids(self) -> list[list[Id]]:
        """Give the ids of each query's hits; missing ones are left out."""
        kinds_QK = self.ids_QK3[:, :, 0]
        if not kinds_QK.any():
            numbers: list[list[Id]] = self.ids_QK3[:, :, 2].tolist()
            return numbers
        num_hits_Q = (kinds_QK != NO_ID).sum(axis=1).tolist()
        return [ids_of_words(words_K3[:num_hits]) for words_K3, num_hits in zip(self.ids_QK3, num_hits_Q, strict=True)]

    def place(self, query: int, hit: int) -> tuple[int, int]:
        """Give the position of the shard a hit came from, and its column there."""
        if self.order_QK is None:
            return 0, hit
        side_by_side = int(self.order_QK[query, hit])
        part = bisect_right(self.starts, side_by_side) - 1
        return part, side_by_side - self.starts[part]


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
        return Merged(parts[0].ids_QK3[:, :k], parts[0].scores_QK[:, :k])
    ids_QR3 = np.concatenate([part.ids_QK3 for part in parts], axis=1)
    scores_QR = np.concatenate([part.scores_QK for part in parts], axis=1)
    order_QK = _order(ids_QR3, scores_QR, k)
    rows_Q1 = np.arange(len(scores_QR))[:, None]
    starts = [0, *accumulate(part.scores_QK.shape[1] for part in parts)][:-1]
    return Merged(ids_QR3[rows_Q1, order_QK], scores_QR[rows_Q1, order_QK], order_QK, starts)


def all_records(answers: Iterable[ReadAnswer]) -> list[Record]:
    """Give the rows of all shards, one shard after the other."""
    return [record for answer in answers for record in _records(answer)]


def first_records(answers: Iterable[ReadAnswer], limit: int) -> list[Record]:
    """Give the first rows of several shards in the order of ids; each shard's are in that order."""
    return list(islice(merge(*map(_records, answers), key=lambda record: id_order(record.id)), limit))


def total(answers: Iterable[ReadAnswer]) -> int:
    """Add up what the shards counted."""
    return sum(answer for answer in answers if isinstance(answer, int))


def _records(answer: ReadAnswer) -> list[Record]:
    assert isinstance(answer, list), "Retrieve and Scroll are answered with rows"
    return answer


def _order(ids_QR3: NDArray[np.uint64], scores_QR: NDArray[np.float32], k: int) -> Ints:
    """Give the places of the best k of each row, by falling score, equal ones by id."""
    order_QR: Ints = (-scores_QR).argsort(axis=1, kind="stable")
    # One more than asked for: a tie across the last place counts, too. Missing hits tie with each other, which says nothing.
    best_QK = scores_QR[np.arange(len(scores_QR))[:, None], order_QR[:, : k + 1]]
    tied_QK = (best_QK[:, 1:] == best_QK[:, :-1]) & (best_QK[:, 1:] > -np.inf)
    if tied_QK.any():
        for query in np.flatnonzero(tied_QK.any(axis=1)):
            words = [ids_QR3[query, :, word] for word in reversed(range(NUM_WORDS))]
            order_QR[query] = np.lexsort((*words, -scores_QR[query]))
    return order_QR[:, :k]
