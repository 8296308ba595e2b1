"""Vectors of a filter's rows at half the bits: what is found through them is what exact scores say."""

import numpy as np
import pytest

from reelspace.search.compute.build import BuildRows, BuildVectors, IndexSettings, build_parts
from reelspace.search.compute.filters import Filter, NumberRange, encode_filter
from reelspace.search.compute.half_rows import HalfRows
from reelspace.search.compute.payloads import Payloads
from reelspace.search.compute.row_ids import SealedIds
from reelspace.search.compute.scoring import Floats, stored_form
from reelspace.search.compute.shard import Shard
from reelspace.search.storage.layout import VectorSettings

NUM_ROWS, DIMENSION = 3000, 24
WHERE = encode_filter(Filter(must=(NumberRange("n", lt=2000),)))


def nearly_equal_rows(spread: float) -> tuple[Floats, Floats]:
    """Make unit vectors whose inner products with the queries differ by about `spread` times 1e-3 from one to the next."""
    draw = np.random.default_rng(5)
    middle_D = draw.standard_normal(DIMENSION)
    rows_ND = stored_form((middle_D + spread * draw.standard_normal((NUM_ROWS, DIMENSION))).astype(np.float32), "cosine")
    return rows_ND, stored_form((middle_D + 0.3 * draw.standard_normal((40, DIMENSION))).astype(np.float32), "cosine")


def shard_of(rows_ND: Floats) -> Shard:
    payloads = Payloads()
    payloads.append([b'{"n":%d}' % row for row in range(NUM_ROWS)])
    ids = SealedIds(np.arange(NUM_ROWS, dtype=np.uint64), np.empty((0, 16), dtype=np.uint8))
    vectors = BuildVectors(VectorSettings(dimension=DIMENSION, metric="cosine"), rows_ND)
    return Shard(build_parts(BuildRows(ids, {"": vectors}, payloads), IndexSettings(flat_below=1, recall_target=0.05)))


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_guesses_differ_from_inner_products_by_less_than_half_the_margin(scale: float) -> None:
    draw = np.random.default_rng(1)
    # Some numbers far below the others: float16 has few bits for them.
    rows_AD = stored_form(
        (draw.standard_normal((500, 64)) * np.where(draw.random((500, 64)) < 0.5, 1.0, scale)).astype(np.float32), "cosine"
    )
    queries_QD = stored_form(draw.standard_normal((50, 64)).astype(np.float32), "cosine")
    halves = HalfRows.of(rows_AD)
    places_QR, guesses_QR = halves.best(queries_QD, 500)
    exact_QA = queries_QD.astype(np.float64) @ rows_AD.astype(np.float64).T
    errors_QR = np.abs(np.take_along_axis(exact_QA, places_QR, axis=1) - guesses_QR)
    assert 0 < errors_QR.max() < halves.margin / 2
    assert halves.size_bytes == 2 * 500 * 64


@pytest.mark.parametrize("spread", [1.0, 0.01, 0.0005])
def test_hits_of_a_filter_that_is_asked_for_again_are_the_exact_ones_however_near_others_are(spread: float) -> None:
    rows_ND, queries_QD = nearly_equal_rows(spread)
    shard = shard_of(rows_ND)
    for query_D in queries_QD[:3]:
        shard.search(query_D[None], 10, where=WHERE)
    assert isinstance(shard._kept.asked((WHERE, "")).compared, HalfRows)  # type: ignore[union-attr]
    exact = shard.search_exactly(queries_QD, 10, where=WHERE)
    found = shard.search(queries_QD, 10, where=WHERE)
    np.testing.assert_array_equal(found.rows_QK, exact.rows_QK)
    np.testing.assert_array_equal(found.scores_QK, exact.scores_QK)
    for query_D, rows_K, scores_K in zip(queries_QD, exact.rows_QK, exact.scores_QK, strict=True):
        lone = shard.lone(query_D, 10, "", WHERE)
        assert lone is None or lone == (rows_K.tolist(), scores_K.tolist())
        one = shard.search(query_D[None], 10, where=WHERE)
        assert one.rows_QK[0].tolist() == rows_K.tolist()


def test_ids_that_must_not_be_hits_are_none_also_where_they_are_nearest() -> None:
    rows_ND, queries_QD = nearly_equal_rows(0.1)
    shard = shard_of(rows_ND)
    for query_D in queries_QD[:2]:
        shard.search(query_D[None], 10, where=WHERE)
    exact = shard.search_exactly(queries_QD, 60, where=WHERE)
    banned = [rows_K[:50].tolist() for rows_K in exact.rows_QK]
    found = shard.search(queries_QD, 10, where=WHERE, excluded=banned)
    np.testing.assert_array_equal(found.rows_QK, exact.rows_QK[:, 50:])
