import numpy as np

from reelspace.core.rng import rng
from reelspace.evaluate.ranking import bootstrap_interval, exact_rows_QK, precision_Q


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
