"""Examples of an embedding: some queries with what they find, and which topics are taken for which.

Legend: Q queries, N works, D dimension, K hits, T topics.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelspace.core.rng import uniform_BN
from reelspace.evaluate.ranking import Ids, Values, precision_Q
from reelspace.evaluate.topics import TopicTask, video_rows_QK


@dataclass(frozen=True, slots=True)
class Hit:
    """One found work; `score` is the cosine, -1 to 1."""

    video_id: int
    topic: int
    score: float
    is_right: bool


@dataclass(frozen=True, slots=True)
class Example:
    """A query and its hits by falling score; `precision` is the share of them that is right."""

    video_id: int
    topic: int
    is_trained: bool
    precision: float
    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class Confusion:
    """share_TT[i, j]: share of the hits of queries of topics_T[i] that are of topics_T[j]; a row without queries is NaN."""

    topics_T: Ids
    share_TT: Values


def confusion(task: TopicTask, rows_QK: Ids) -> Confusion:
    """Count which topics the queries of each topic find."""
    topics_T, columns_N = np.unique(task.truth.topic_N, return_inverse=True)
    counts_TT = np.zeros((len(topics_T), len(topics_T)))
    asking_QK = np.broadcast_to(columns_N[task.query_rows_Q][:, None], rows_QK.shape)
    np.add.at(counts_TT, (asking_QK, columns_N[rows_QK]), 1)
    totals_T = counts_TT.sum(axis=1, keepdims=True)
    share_TT = np.divide(counts_TT, totals_T, out=np.full_like(counts_TT, np.nan), where=totals_T > 0)
    return Confusion(topics_T.astype(np.int64), share_TT)


def examples(task: TopicTask, video_ids_N: Ids, vectors_ND: NDArray[np.float32], num: int, seed: int) -> tuple[Example, ...]:
    """Give `num` queries with their ten hits: half drawn at random, and of the others those that find the least."""
    rows_QK = video_rows_QK(task, vectors_ND, vectors_ND)
    precision = precision_Q(rows_QK, task.truth.topic_N, task.topic_Q)
    draws_Q = uniform_BN(seed, 0, video_ids_N[task.query_rows_Q], "example", 1)[:, 0]
    drawn = np.argsort(draws_Q, kind="stable")[: (num + 1) // 2].tolist()
    worst = [query for query in np.argsort(precision, kind="stable").tolist() if query not in drawn][: num - len(drawn)]
    return tuple(_example(task, video_ids_N, vectors_ND, query, rows_QK[query], float(precision[query])) for query in [*drawn, *worst])


def _example(task: TopicTask, video_ids_N: Ids, vectors_ND: NDArray[np.float32], query: int, rows_K: Ids, precision: float) -> Example:
    own, topic_N = int(task.query_rows_Q[query]), task.truth.topic_N
    scores_K = vectors_ND[rows_K] @ vectors_ND[own]
    hits = tuple(
        Hit(int(video_ids_N[row]), int(topic_N[row]), float(score), bool(topic_N[row] == topic_N[own]))
        for row, score in zip(rows_K, scores_K, strict=True)
    )
    return Example(int(video_ids_N[own]), int(topic_N[own]), int(topic_N[own]) in task.trained_topics, precision, hits)
