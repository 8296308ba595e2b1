import math

import numpy as np
import pytest

from reelspace.core.rng import rng
from reelspace.evaluate.ranking import (
    average_precision_Q,
    bootstrap_interval,
    exact_rows_QK,
    ideal_gain_QK,
    mean_of,
    ndcg_at_Q,
    precision_at_Q,
    precision_Q,
    ratio_interval,
    recall_at_Q,
)


def unit_vectors(num: int, dimension: int, name: str) -> np.ndarray:
    vectors = rng(7, name).standard_normal((num, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_ranking_equals_a_python_sort_and_leaves_the_query_out():
    gallery = unit_vectors(40, 8, "gallery")
    own = np.array([3, -1, 17])
    queries = np.stack([gallery[3], unit_vectors(1, 8, "other")[0], gallery[17]])
    rows = exact_rows_QK(queries, gallery, 10, own)
    for query, row, found in zip(queries, own, rows, strict=True):
        expected = sorted((i for i in range(40) if i != row), key=lambda i: (-float(query @ gallery[i]), i))[:10]
        assert found.tolist() == expected


def test_equal_scores_are_ordered_by_row():
    gallery = np.tile(np.array([[1.0, 0.0]], dtype=np.float32), (5, 1))
    assert exact_rows_QK(gallery[:1], gallery, 3).tolist() == [[0, 1, 2]]


def test_precision_counts_hits_of_the_querys_own_class():
    assert precision_Q(np.array([[0, 1, 2, 3]]), np.array([5, 5, 6, 5]), np.array([5])).tolist() == [0.75]


def test_bootstrap_interval_of_a_fair_coin_holds_the_mean_and_narrows_with_more_throws():
    throws = np.tile([0.0, 1.0], 500)
    low, high = bootstrap_interval(throws, rng(1, "wide"))
    assert low < 0.5 < high
    assert abs((high - low) - 2 * 1.96 * 0.5 / np.sqrt(1000)) < 0.01


def test_many_queries_are_ranked_as_one_by_one():
    gallery, queries = unit_vectors(30, 4, "gallery"), unit_vectors(1100, 4, "queries")
    rows = exact_rows_QK(queries, gallery, 7)
    singly = [exact_rows_QK(queries[row : row + 1], gallery, 7)[0].tolist() for row in (0, 511, 512, 1099)]
    assert [rows[row].tolist() for row in (0, 511, 512, 1099)] == singly
    assert rows.shape == (1100, 7)


def graded_rankings(num_queries: int = 40, num_rows: int = 25) -> np.ndarray:
    """Grades 0 to 3 in the order of the hits; every third query has few relevant rows, the last none."""
    grades = rng(5, "grades").integers(0, 4, (num_queries, num_rows))
    grades[::3] *= rng(5, "few").random((len(grades[::3]), num_rows)) < 0.1
    grades[-1] = 0
    return grades


def test_precision_recall_and_average_precision_equal_loops_over_the_hits():
    grades = graded_rankings()
    relevant, num_relevant, cut = grades > 0, (grades > 0).sum(axis=1), 20
    found = {
        "precision": precision_at_Q(relevant, 10),
        "recall": recall_at_Q(relevant, num_relevant, 10),
        "average": average_precision_Q(relevant[:, :cut], num_relevant),
    }
    for query, row in enumerate(grades.tolist()):
        right = [position for position, grade in enumerate(row) if grade > 0]
        precisions = [sum(other <= position for other in right) / (position + 1) for position in right if position < cut]
        assert found["precision"][query] == len([position for position in right if position < 10]) / 10
        if right:
            assert found["recall"][query] == pytest.approx(len([position for position in right if position < 10]) / len(right))
            assert found["average"][query] == pytest.approx(sum(precisions) / len(right))
        else:
            assert np.isnan([found["recall"][query], found["average"][query]]).all()


def test_average_precision_of_a_textbook_ranking():
    # Manning, Raghavan and Schuetze, Introduction to Information Retrieval, 8.4: the mean of the precisions at the relevant ranks.
    assert average_precision_Q(np.array([[True, False, True, False, True]]), np.array([3]))[0] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


@pytest.mark.parametrize("binary", [True, False])
def test_ndcg_equals_a_loop_with_logarithms(binary):
    grades = graded_rankings()
    gains = (grades > 0).astype(np.float64) if binary else grades.astype(np.float64)
    found = ndcg_at_Q(gains, ideal_gain_QK(gains, 10), 10)
    for query, row in enumerate(gains.tolist()):
        gained = sum(gain / math.log2(rank + 2) for rank, gain in enumerate(row[:10]))
        best = sum(gain / math.log2(rank + 2) for rank, gain in enumerate(sorted(row, reverse=True)[:10]))
        assert np.isnan(found[query]) if best == 0 else found[query] == pytest.approx(gained / best)


def test_ndcg_of_the_best_ranking_is_one_and_of_the_worst_below():
    gains = np.array([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
    best, worst = ndcg_at_Q(gains, ideal_gain_QK(gains, 4), 4)
    assert best == pytest.approx(1.0)
    assert worst < 0.7


def test_hits_that_are_missing_count_as_wrong():
    assert precision_at_Q(np.array([[True, True]]), 10).tolist() == [0.2]


def test_the_mean_leaves_out_what_is_not_defined():
    assert mean_of(np.array([1.0, np.nan, 0.0])) == 0.5
    assert mean_of(np.array([np.nan])) is None


def test_the_ratio_of_values_that_hang_together_is_known_better_than_apart():
    draw = rng(2, "ratio")
    below = draw.random(400)
    low, high = ratio_interval(0.9 * below, below, rng(1, "together"))
    assert low == pytest.approx(0.9)
    assert high == pytest.approx(0.9)
    low, high = ratio_interval(0.9 * draw.permutation(below), below, rng(1, "apart"))
    assert low < 0.9 < high
    assert high - low > 0.05


def test_there_is_no_ratio_to_zero():
    assert ratio_interval(np.ones(5), np.zeros(5), rng(1, "zero")) is None
