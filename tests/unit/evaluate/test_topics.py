from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from reelspace.core.rng import rng
from reelspace.evaluate.topics import grades_of, ranking_values, text_figures, topic_task, video_figures, video_values
from reelspace.evaluate.truth import EvaluationQuery, WorkFacts, WorkTruth

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


def facts_of(truth: WorkTruth) -> WorkFacts:
    num = len(truth.topic_N)
    subtopics = np.arange(num) % 3
    return WorkFacts(truth.topic_N // 2, subtopics, np.arange(num) % 2 == 0, np.arange(num) % 5 != 0)


def four_topics() -> tuple[WorkTruth, list[datetime]]:
    topics = np.arange(80) % 4
    truth = WorkTruth(topics, np.arange(80) % 7 == 0, np.zeros(80, dtype=bool))
    return truth, [CUTOFF + timedelta(days=1 if row >= 60 else -1) for row in range(80)]


def test_grades_say_subtopic_topic_area_or_nothing_and_never_the_query_itself():
    truth, created = four_topics()
    task, facts = topic_task(truth, created, CUTOFF, 1), facts_of(truth)
    grades = grades_of(task, facts)
    for query, row in enumerate(task.query_rows_Q):
        for other in range(80):
            same_topic = truth.topic_N[other] == truth.topic_N[row]
            expected = 1 if facts.area_N[other] == facts.area_N[row] else 0
            if same_topic:
                expected = 3 if facts.subtopic_N[other] == facts.subtopic_N[row] else 2
            assert grades[query, other] == (0 if other == row else expected)


def test_recall_map_and_ndcg_of_random_vectors_equal_loops():
    truth, created = four_topics()
    task, facts = topic_task(truth, created, CUTOFF, 1), facts_of(truth)
    vectors = rng(4, "vectors").standard_normal((80, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found, grades = ranking_values(task, facts, vectors), grades_of(task, facts)
    for query, row in enumerate(task.query_rows_Q):
        order = sorted((other for other in range(80) if other != row), key=lambda other: -float(vectors[row] @ vectors[other]))
        right = [rank for rank, other in enumerate(order) if truth.topic_N[other] == truth.topic_N[row]]
        assert found["video_to_topic_r10"][query] == pytest.approx(sum(rank < 10 for rank in right) / 19)
        assert found["video_to_topic_map"][query] == pytest.approx(np.mean([(n + 1) / (rank + 1) for n, rank in enumerate(right)]))
        discounts = 1 / np.log2(np.arange(2, 12))
        hits = grades[query, order[:10]]
        best = np.array(sorted(grades[query], reverse=True)[:10])
        assert found["video_graded_ndcg10"][query] == pytest.approx((hits @ discounts) / (best @ discounts))
        assert found["video_to_topic_ndcg10"][query] == pytest.approx(((hits >= 2) @ discounts) / discounts.sum())


def test_figures_of_the_ranking_are_of_trained_topics_alone():
    truth, created = world()
    task = topic_task(truth, created, CUTOFF, 12)
    values = ranking_values(task, facts_of(truth), one_hot(truth.topic_N))
    assert {len(of) for of in values.values()} == {12}
    assert values["video_to_topic_map"].tolist() == pytest.approx([1.0] * 12)


def test_figures_are_the_means_of_the_values():
    truth, created = four_topics()
    task = topic_task(truth, created, CUTOFF, 1)
    vectors = one_hot(truth.topic_N)
    values, figures = video_values(task, vectors, vectors), video_figures(task, vectors, vectors)
    assert figures["background_swap_share"] == values["background_swap_share"].mean()
    assert len(values["background_swap_share"]) == int((np.arange(60, 80) % 7 == 0).sum())
