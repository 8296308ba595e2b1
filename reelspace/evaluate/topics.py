"""Precision at 10 of topics: video queries, swapped-background twins and text queries.

The gallery is every decodable work. Video queries are the works uploaded after the cut-off, each left out of its own answer.
A topic is "trained" with at least `min_training_works` works before the cut-off; newborn topics have fewer and are reported apart.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from reelspace.evaluate.ranking import exact_rows_QK, precision_Q
from reelspace.evaluate.truth import EvaluationQuery, WorkTruth, training_works

Floats = NDArray[np.float32]
K = 10


@dataclass(frozen=True, slots=True)
class TopicTask:
    """What is asked and what is right, in gallery order; N works, Q of them queries."""

    truth: WorkTruth
    query_rows_Q: NDArray[np.int64]
    trained_topics: frozenset[int]

    @property
    def trained_N(self) -> NDArray[np.bool_]:
        """Whether each work's topic has enough training works."""
        return np.isin(self.truth.topic_N, list(self.trained_topics))


def topic_task(truth: WorkTruth, created_at_N: list[datetime], cutoff: datetime, min_training_works: int) -> TopicTask:
    """Split works at the cut-off and topics by their count of training works."""
    counts = training_works(truth.topic_N, created_at_N, cutoff)
    return TopicTask(
        truth=truth,
        query_rows_Q=np.array([row for row, created_at in enumerate(created_at_N) if created_at >= cutoff], dtype=np.int64),
        trained_topics=frozenset(topic for topic, count in counts.items() if count >= min_training_works),
    )


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def video_precision_Q(task: TopicTask, queries_ND: Floats, gallery_ND: Floats) -> NDArray[np.float64]:
    """Give the precision at 10 of every video query, searched by its row of `queries_ND` in `gallery_ND`."""
    rows_QK = exact_rows_QK(queries_ND[task.query_rows_Q], gallery_ND, K, own_rows_Q=task.query_rows_Q)
    return precision_Q(rows_QK, task.truth.topic_N, task.truth.topic_N[task.query_rows_Q])


def video_figures(task: TopicTask, queries_ND: Floats, gallery_ND: Floats) -> dict[str, float | None]:
    """Average the precision over trained topics, all topics and newborn ones, and over the twins among the queries."""
    precision = video_precision_Q(task, queries_ND, gallery_ND)
    trained = task.trained_N[task.query_rows_Q]
    twins = task.truth.is_twin_N[task.query_rows_Q]
    return {
        "video_to_topic_p10": _mean(precision[trained]),
        "video_to_topic_p10_all": _mean(precision),
        "video_to_topic_p10_newborn": _mean(precision[task.truth.is_newborn_N[task.query_rows_Q]]),
        "background_swap_share": _mean(precision[twins]),
    }


def text_figures(task: TopicTask, queries: list[EvaluationQuery], queries_QD: Floats, gallery_ND: Floats) -> dict[str, float | None]:
    """Average the precision at 10 of text queries whose topic is trained, by seen and unseen phrasing, and over all topics."""
    topics_Q = np.array([query.topic for query in queries], dtype=np.int64)
    precision = precision_Q(exact_rows_QK(queries_QD, gallery_ND, K), task.truth.topic_N, topics_Q)
    trained = np.isin(topics_Q, list(task.trained_topics))
    seen = np.array([query.seen for query in queries])
    return {
        "text_to_topic_p10_seen": _mean(precision[trained & seen]),
        "text_to_topic_p10_unseen": _mean(precision[trained & ~seen]),
        "text_to_topic_p10_all": _mean(precision),
    }
