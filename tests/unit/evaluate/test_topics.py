from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from reelspace.evaluate.topics import text_figures, topic_task, video_figures
from reelspace.evaluate.truth import EvaluationQuery, WorkTruth

CUTOFF = datetime(2025, 2, 20, tzinfo=UTC)


def world():
    """Topic 0 has 20 works before the cut-off, topic 1 has 2; both have 12 after it."""
    topics = [0] * 20 + [1] * 2 + [0] * 12 + [1] * 12
    created = [CUTOFF - timedelta(days=1)] * 22 + [CUTOFF] * 24
    truth = WorkTruth(np.array(topics), np.array([False] * 44 + [True] * 2), np.array([topic == 1 for topic in topics]))
    return truth, created


def one_hot(topics: np.ndarray) -> np.ndarray:
    return np.eye(4, dtype=np.float32)[topics]


def test_perfect_vectors_score_one_in_every_group():
    truth, created = world()
    task = topic_task(truth, created, CUTOFF, 12)
    assert task.trained_topics == {0}
    vectors = one_hot(truth.topic_N)
    assert video_figures(task, vectors, vectors) == {
        "video_to_topic_p10": 1.0,
        "video_to_topic_p10_all": 1.0,
        "video_to_topic_p10_newborn": 1.0,
        "background_swap_share": 1.0,
    }


def test_only_works_after_the_cutoff_ask_and_newborn_topics_are_apart():
    truth, created = world()
    task = topic_task(truth, created, CUTOFF, 12)
    assert len(task.query_rows_Q) == 24
    vectors = one_hot(truth.topic_N)
    vectors[truth.topic_N == 1] = one_hot(np.array([0]))[0]
    figures = video_figures(task, vectors, vectors)
    # All vectors are equal now: ties go by row, so everyone finds the first rows, which are topic 0.
    assert figures["video_to_topic_p10"] == 1.0
    assert figures["video_to_topic_p10_newborn"] == 0.0
    assert figures["video_to_topic_p10_all"] == 0.5


def test_text_queries_of_untrained_topics_count_only_among_all():
    truth, created = world()
    task = topic_task(truth, created, CUTOFF, 12)
    queries = [EvaluationQuery("a", "en", 0, True), EvaluationQuery("b", "en", 0, False), EvaluationQuery("c", "en", 1, False)]
    vectors = one_hot(np.array([0, 1, 2]))
    figures = text_figures(task, queries, vectors, one_hot(truth.topic_N))
    assert figures["text_to_topic_p10_seen"] == 1.0
    assert figures["text_to_topic_p10_unseen"] == 0.0
    assert figures["text_to_topic_p10_all"] == pytest.approx(1 / 3)


def test_a_figure_without_queries_is_none_and_never_nan():
    truth, created = world()
    task = topic_task(truth, created, CUTOFF, 100)
    vectors = one_hot(truth.topic_N)
    assert video_figures(task, vectors, vectors)["video_to_topic_p10"] is None
