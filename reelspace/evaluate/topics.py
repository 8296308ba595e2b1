"""Topics: what video queries, swapped-background twins and text queries find.

The gallery is every decodable work. Video queries are the works uploaded after the cut-off that did not train, each left out of its
own answer.
A topic is "trained" with at least `min_training_works` works before the cut-off; newborn topics have fewer and are reported apart.
Legend: N works, Q queries, D dimension, K hits.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from reelspace.evaluate.ranking import (
    Flags,
    Ids,
    Values,
    average_precision_Q,
    exact_rows_QK,
    ideal_gain_QK,
    mean_of,
    ndcg_at_Q,
    precision_Q,
    recall_at_Q,
)
from reelspace.evaluate.truth import EvaluationQuery, WorkFacts, WorkTruth, training_works

Floats = NDArray[np.float32]
K = 10
# The ranking behind mAP is cut here, as trec_eval cuts it; worlds with fewer works are ranked whole.
DEPTH = 1000
# Same area, same topic, same sub-topic: the grades that a generated world gives its works.
AREA_GRADE, TOPIC_GRADE, SUBTOPIC_GRADE = 1.0, 2.0, 3.0


@dataclass(frozen=True, slots=True)
class TopicTask:
    """What is asked and what is right, in gallery order; N works, Q of them queries."""

    truth: WorkTruth
    query_rows_Q: Ids
    trained_topics: frozenset[int]

    @property
    def trained_N(self) -> Flags:
        """Whether each work's topic has enough training works."""
        return np.isin(self.truth.topic_N, list(self.trained_topics))

    @property
    def trained_Q(self) -> Flags:
        """Whether each query's topic has enough training works."""
        return self.trained_N[self.query_rows_Q]

    @property
    def topic_Q(self) -> Ids:
        """The topic of each query."""
        return self.truth.topic_N[self.query_rows_Q]


def topic_task(
    truth: WorkTruth, created_at_N: list[datetime], cutoff: datetime, min_training_works: int, trained_N: Flags | None = None
) -> TopicTask:
    """Split works at the cut-off and topics by their count of training works; works after it that trained are no queries."""
    counts = training_works(truth.topic_N, created_at_N, cutoff)
    asked_N = np.array([created_at >= cutoff for created_at in created_at_N], dtype=np.bool_)
    if trained_N is not None:
        asked_N &= ~trained_N
    return TopicTask(
        truth=truth,
        query_rows_Q=np.flatnonzero(asked_N),
        trained_topics=frozenset(topic for topic, count in counts.items() if count >= min_training_works),
    )


def video_rows_QK(task: TopicTask, queries_ND: Floats, gallery_ND: Floats, k: int = K) -> Ids:
    """Rank the gallery for every video query, searched by its row of `queries_ND`; the query itself is left out."""
    rows = task.query_rows_Q
    return exact_rows_QK(queries_ND[rows], gallery_ND, min(k, len(gallery_ND) - 1), own_rows_Q=rows)


def video_precision_Q(task: TopicTask, queries_ND: Floats, gallery_ND: Floats) -> Values:
    """Give the precision at 10 of every video query, searched by its row of `queries_ND` in `gallery_ND`."""
    return precision_Q(video_rows_QK(task, queries_ND, gallery_ND), task.truth.topic_N, task.topic_Q)


def video_values(task: TopicTask, queries_ND: Floats, gallery_ND: Floats) -> dict[str, Values]:
    """Give the precision at 10 of the queries of trained topics, all topics and newborn ones, and of the twins among the queries."""
    precision = video_precision_Q(task, queries_ND, gallery_ND)
    return {
        "video_to_topic_p10": precision[task.trained_Q],
        "video_to_topic_p10_all": precision,
        "video_to_topic_p10_newborn": precision[task.truth.is_newborn_N[task.query_rows_Q]],
        "background_swap_share": precision[task.truth.is_twin_N[task.query_rows_Q]],
    }


def video_figures(task: TopicTask, queries_ND: Floats, gallery_ND: Floats) -> dict[str, float | None]:
    """Average `video_values`."""
    return {name: mean_of(values) for name, values in video_values(task, queries_ND, gallery_ND).items()}


def ranking_values(task: TopicTask, facts: WorkFacts, vectors_ND: Floats) -> dict[str, Values]:
    """Give what the whole ranking of every query of a trained topic is worth.

    Returns:
        video_to_topic_r10, video_to_topic_map, video_to_topic_ndcg10: recall, mean average precision and nDCG of the query's topic;
        video_graded_ndcg10: nDCG with 3 for the query's sub-topic, 2 for its topic, 1 for its area.
    """
    asked = TopicTask(task.truth, task.query_rows_Q[task.trained_Q], task.trained_topics)
    rows_QK = video_rows_QK(asked, vectors_ND, vectors_ND, DEPTH)
    grades_QN = grades_of(asked, facts)
    same_QN = grades_QN >= TOPIC_GRADE
    num_relevant_Q = same_QN.sum(axis=1)
    relevant_QK: Flags = np.take_along_axis(same_QN, rows_QK, axis=1)
    grades_QK: Values = np.take_along_axis(grades_QN, rows_QK, axis=1)
    return {
        "video_to_topic_r10": recall_at_Q(relevant_QK, num_relevant_Q, K),
        "video_to_topic_map": average_precision_Q(relevant_QK, num_relevant_Q),
        "video_to_topic_ndcg10": ndcg_at_Q(relevant_QK.astype(np.float64), ideal_gain_QK(same_QN.astype(np.float64), K), K),
        "video_graded_ndcg10": ndcg_at_Q(grades_QK, ideal_gain_QK(grades_QN, K), K),
    }


def grades_of(task: TopicTask, facts: WorkFacts) -> Values:
    """Grade every work against every query, [Q, N]; the query itself is 0, since it is left out of its answer."""
    rows, topic_N = task.query_rows_Q, task.truth.topic_N
    area_QN = facts.area_N[rows][:, None] == facts.area_N
    topic_QN = topic_N[rows][:, None] == topic_N
    subtopic_QN = topic_QN & (facts.subtopic_N[rows][:, None] == facts.subtopic_N)
    grades_QN = np.select([subtopic_QN, topic_QN, area_QN], [SUBTOPIC_GRADE, TOPIC_GRADE, AREA_GRADE], 0.0)
    grades_QN[np.arange(len(rows)), rows] = 0
    return np.asarray(grades_QN, dtype=np.float64)


def text_values(task: TopicTask, queries: list[EvaluationQuery], queries_QD: Floats, gallery_ND: Floats) -> dict[str, Values]:
    """Give the precision at 10 of text queries whose topic is trained, by seen and unseen phrasing, and of all topics."""
    topics_Q = np.array([query.topic for query in queries], dtype=np.int64)
    precision = precision_Q(exact_rows_QK(queries_QD, gallery_ND, K), task.truth.topic_N, topics_Q)
    trained = np.isin(topics_Q, list(task.trained_topics))
    seen = np.array([query.seen for query in queries], dtype=bool)
    return {
        "text_to_topic_p10_seen": precision[trained & seen],
        "text_to_topic_p10_unseen": precision[trained & ~seen],
        "text_to_topic_p10_all": precision,
    }


def text_figures(task: TopicTask, queries: list[EvaluationQuery], queries_QD: Floats, gallery_ND: Floats) -> dict[str, float | None]:
    """Average `text_values`."""
    return {name: mean_of(values) for name, values in text_values(task, queries, queries_QD, gallery_ND).items()}
