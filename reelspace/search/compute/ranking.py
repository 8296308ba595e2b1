"""Scores the candidates of a round, keeps the best, and tells which queries must look further.

Legend: Q queries, K hits, R candidates.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reelspace.search.compute.hits import NO_ROW, NO_SCORE, Rows, widened
from reelspace.search.compute.lone_query import FEW, leading
from reelspace.search.compute.row_ids import RowIds
from reelspace.search.compute.scoring import Floats, Ints
from reelspace.search.compute.vector_index import NOTHING, Part, VectorIndex

Mask = NDArray[np.bool_]


def rank(index: VectorIndex, ids: RowIds, vectors_QD: Floats, k: int, parts: Sequence[Part]) -> tuple[Rows, Mask]:
    """Keep the k best candidates of all parts, equal scores by id.

    Returns:
        The hits, and per query whether a part must look further: it may hold a hit that is missing, or one that is equal to the
        last hit and comes before it.
    """
    positions_QR, guesses_QR = _together(parts)
    if len(vectors_QD) == 1 and k < positions_QR.shape[1] <= FEW:
        found = _rank_one(index, vectors_QD, k, parts, (positions_QR, guesses_QR[0]))
        if found is not None:
            return found
    scores_QR = index.scores(vectors_QD, positions_QR)
    order_QR = np.argsort(-scores_QR, axis=1, kind="stable")
    sorted_QR = np.take_along_axis(scores_QR, order_QR, axis=1)
    _order_ties(index, ids, positions_QR, sorted_QR, order_QR)
    order_QK, scores_QK = order_QR[:, :k], sorted_QR[:, :k]
    positions_QK = np.take_along_axis(positions_QR, order_QK, axis=1)
    positions_QK[scores_QK == NO_SCORE] = NO_ROW
    open_Q = _open(parts, k, order_QK, scores_QK, guesses_QR)
    return widened(Rows(index.rows(positions_QK), scores_QK), k), open_Q


def _rank_one(
    index: VectorIndex, vectors_1D: Floats, k: int, parts: Sequence[Part], candidates: tuple[Ints, Floats]
) -> tuple[Rows, Mask] | None:
    """Do the same for the usual lone query, whose hits are all there and of different scores, in a third of the time; else None."""
    positions_1R, guesses_R = candidates
    scores_R = index.scores(vectors_1D, positions_1R)[0]
    scores, guesses = scores_R.tolist(), guesses_R.tolist()
    order = leading(scores, k)
    if order is None:
        return None
    is_open, column = False, 0
    for part in parts:
        end = column + part.positions_QR.shape[1]
        last = guesses[end - 1]
        if not part.is_all and last > NOTHING:
            kept = [guesses[place] for place in order if column <= place < end]
            margin = float(part.margin) * max(abs(guesses[column]), abs(last))
            is_open = is_open or (bool(kept) and last >= min(kept) - margin)
        column = end
    order_K = np.array(order)
    return Rows(index.rows(positions_1R[:, order_K]), scores_R[order_K][None]), np.array([is_open])


def _together(parts: Sequence[Part]) -> tuple[Ints, Floats]:
    if len(parts) == 1:
        return parts[0].positions_QR, parts[0].guesses_QR
    positions_QR = np.concatenate([part.positions_QR for part in parts], axis=1)
    return positions_QR, np.concatenate([part.guesses_QR for part in parts], axis=1)


def _order_ties(index: VectorIndex, ids: RowIds, positions_QR: Ints, sorted_QR: Floats, order_QR: Ints) -> None:
    """Order equal scores by id, in place."""
    equal_QR = (sorted_QR[:, 1:] == sorted_QR[:, :-1]) & (sorted_QR[:, 1:] != NO_SCORE)
    if not equal_QR.any():
        return
    for query in np.flatnonzero(equal_QR.any(axis=1)):
        words_R3 = ids.words(index.rows(positions_QR[query, order_QR[query]]))
        again_R = np.lexsort((words_R3[:, 2], words_R3[:, 1], words_R3[:, 0], -sorted_QR[query]))
        order_QR[query] = order_QR[query, again_R]


def _open(parts: Sequence[Part], k: int, order_QK: Ints, scores_QK: Floats, guesses_QR: Floats) -> Mask:
    num_queries = len(order_QK)
    open_Q = np.zeros(num_queries, dtype=np.bool_)
    if all(part.is_all for part in parts):
        return open_Q
    least_QK = np.where(scores_QK == NO_SCORE, np.float32(np.inf), np.take_along_axis(guesses_QR, order_QK, axis=1))
    too_few_Q = scores_QK[:, -1] == NO_SCORE if scores_QK.shape[1] == k else np.ones(num_queries, dtype=np.bool_)
    column = 0
    for part in parts:
        width = part.positions_QR.shape[1]
        if not part.is_all:
            of_part_QK = least_QK
            if len(parts) > 1:
                of_part_QK = np.where((order_QK >= column) & (order_QK < column + width), least_QK, np.float32(np.inf))
            least_Q = of_part_QK.min(axis=1)
            first_Q, last_Q = np.maximum(part.guesses_QR[:, 0], NOTHING), np.maximum(part.guesses_QR[:, -1], NOTHING)
            some_left_Q = last_Q > NOTHING
            tied_Q = some_left_Q & (last_Q >= least_Q - part.margin * np.maximum(np.abs(first_Q), np.abs(last_Q)))
            open_Q |= tied_Q | (too_few_Q & (some_left_Q | (not part.looked_everywhere)))
        column += width
    return open_Q
