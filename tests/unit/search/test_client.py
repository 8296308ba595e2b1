import numpy as np
import pytest

from reelspace.core.errors import ServerUnavailable, UserError
from reelspace.search.client import SearchClient
from reelspace.search.clustered import ClusteredVectors
from reelspace.search.measure import Gallery, exact_ids_QK, recall_at_k

from .builders import exact_ids, make_queries, make_table


def test_no_gateway_at_the_address_is_said_in_one_line() -> None:
    with SearchClient("http://127.0.0.1:9") as client, pytest.raises(ServerUnavailable, match=r"no answer from http://127\.0\.0\.1:9"):
        client.query("cat")


@pytest.mark.parametrize("url", ["127.0.0.1:9", "ftp://127.0.0.1", "http://", ""])
def test_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="address"):
        SearchClient(url)


def test_measured_truth_equals_brute_force_with_ties_by_id() -> None:
    table, queries_QD = make_table(200, num_twins=40), make_queries(10)
    queries_QD = np.concatenate([queries_QD, table.vectors_ND[:10]])
    assert exact_ids_QK(queries_QD, Gallery(table.ids_N, table.vectors_ND), 10).tolist() == exact_ids(table, queries_QD, 10)


def test_recall_counts_shared_ids_whatever_their_order() -> None:
    assert recall_at_k([[1, 2], [9, 8]], np.array([[2, 1], [8, 7]])) == 0.75


def test_generated_rows_are_unit_vectors_repeat_by_stream_and_come_in_clusters() -> None:
    world = ClusteredVectors(32, seed=3)
    rows_ND, queries_QD = world.rows(4000, "rows"), world.rows(50, "queries")
    assert (ClusteredVectors(32, seed=3).rows(4000, "rows") == rows_ND).all()
    assert (world.rows(4000, "rows") == rows_ND).all()
    np.testing.assert_allclose(np.linalg.norm(rows_ND, axis=1), 1, atol=1e-6)
    nearest = (queries_QD @ rows_ND.T).max(axis=1)
    strange = (make_queries(50, 32) @ rows_ND.T).max(axis=1)
    assert np.median(nearest) > np.median(strange) + 0.1
