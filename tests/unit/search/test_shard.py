import numpy as np
import pytest

from reelspace.search.compute.build import IndexSettings
from reelspace.search.compute.filters import Filter, NumberRange, encode_filter
from reelspace.search.compute.shard import QueryRefused
from reelspace.search.storage.ids import NO_ID

from .builders import exact_ids, ids_of, make_queries, make_shard, make_table

IVF = IndexSettings(flat_below=1, num_recall_queries=64)


def test_flat_shard_equals_brute_force() -> None:
    table, queries_QD = make_table(500, num_twins=50), make_queries(40)
    shard = make_shard(table)
    assert shard.indexes[""].facts.index.kind == "flat"
    assert ids_of(shard, shard.search(queries_QD, 10).rows_QK) == exact_ids(table, queries_QD, 10)


def test_approximate_shard_reaches_its_target_on_new_queries() -> None:
    everything = make_table(6200, 32, clusters=100)
    table, queries_QD = everything.take(np.arange(6000)), everything.vectors_ND[6000:]
    shard = make_shard(table, IVF)
    assert shard.indexes[""].facts.index.kind == "ivf_sq8"
    found = ids_of(shard, shard.search(queries_QD, 10).rows_QK)
    exact = exact_ids(table, queries_QD, 10)
    assert sum(len(set(a) & set(b)) for a, b in zip(found, exact, strict=True)) / 2000 >= 0.95


@pytest.mark.parametrize("settings", [IndexSettings(), IVF])
def test_equal_scores_are_ordered_by_id_across_the_last_place(settings: IndexSettings) -> None:
    table = make_table(400)
    table.vectors_ND[100:300] = table.vectors_ND[0]
    shard = make_shard(table, settings)
    twins = sorted([int(table.ids_N[0]), *table.ids_N[100:300].tolist()])
    for k in (1, 7, 200):
        assert ids_of(shard, shard.search(table.vectors_ND[:1], k).rows_QK)[0] == twins[:k]


@pytest.mark.parametrize("settings", [IndexSettings(), IVF])
def test_excluded_ids_leave_their_places_to_the_next(settings: IndexSettings) -> None:
    table, queries_QD = make_table(400), make_queries(8)
    shard = make_shard(table, settings)
    excluded = [[*one[: 5 * number], 1] for number, one in enumerate(exact_ids(table, queries_QD, 400))]
    found = ids_of(shard, shard.search(queries_QD, 300, excluded=excluded).rows_QK)
    for query_D, ids, row in zip(queries_QD, excluded, found, strict=True):
        assert row == exact_ids(table, query_D[None], 300, set(ids))[0]


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_only_allowed_rows_are_hits_and_never_fewer_than_asked(share: float, twice: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reelspace.search.compute.shard.SCAN_ROWS", 300)
    monkeypatch.setattr("reelspace.search.compute.shard.KEPT_ROWS", 1500)
    table, queries_QD = make_table(3000, clusters=40), make_queries(20)
    shard = make_shard(table, IVF)
    limit = int(np.quantile(table.ids_N, share))
    where = encode_filter(Filter(must=(NumberRange("number", lt=limit),)))
    found = shard.search(queries_QD, 10, where=where)
    if twice:
        found = shard.search(queries_QD, 10, where=where)
    found_ids = ids_of(shard, found.rows_QK)
    assert all(id < limit for ids in found_ids for id in ids)
    exact = exact_ids(table, queries_QD, 10, {id for id in table.ids_N.tolist() if id >= limit})
    assert sum(len(set(a) & set(b)) for a, b in zip(found_ids, exact, strict=True)) / 200 >= 0.95
    assert all(len(ids) == 10 for ids in found_ids)


def test_as_many_hits_as_rows_are_found_however_few_lists_one_query_visits() -> None:
    table = make_table(2000, clusters=20)
    shard = make_shard(table, IVF)
    rows_K = shard.search(make_queries(3), 2000).rows_QK
    assert (np.sort(rows_K, axis=1) == np.arange(2000)).all()


def test_scores_do_not_depend_on_batch_or_index() -> None:
    everything = make_table(3064, clusters=40)
    table, queries_QD = everything.take(np.arange(3000)), everything.vectors_ND[3000:]
    flat, approximate = make_shard(table), make_shard(table, IVF)
    together = flat.search(queries_QD, 10)
    for row, query_D in enumerate(queries_QD):
        alone = flat.search(query_D[None], 10)
        assert (alone.scores_QK[0] == together.scores_QK[row]).all()
    found = approximate.search(queries_QD, 10)
    same = found.rows_QK == together.rows_QK
    assert same.mean() > 0.9
    assert (found.scores_QK[same] == together.scores_QK[same]).all()


def test_missing_hits_are_marked() -> None:
    shard = make_shard(make_table(3))
    found = shard.search(make_queries(2), 5)
    assert (found.rows_QK[:, 3:] == -1).all()
    assert (found.scores_QK[:, 3:] == -np.inf).all()
    assert (shard.ids.words(found.rows_QK)[:, 3:, 0] == NO_ID).all()


def test_shard_without_rows_answers_nothing() -> None:
    shard = make_shard(make_table(0))
    found = shard.search(make_queries(2), 5, excluded=[[1], [2]])
    assert (found.rows_QK == -1).all()
    assert (shard.ids.words(found.rows_QK)[..., 0] == NO_ID).all()
    assert shard.ids.rows_of([5]).tolist() == [-1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_query_that_is_not_finite_is_refused(bad: float) -> None:
    queries_QD = make_queries(3)
    queries_QD[1, 4] = bad
    with pytest.raises(QueryRefused, match="finite"):
        make_shard(make_table(20)).search(queries_QD, 3)


@pytest.mark.parametrize("k", [0, -1, 2049])
def test_impossible_number_of_hits_is_refused(k: int) -> None:
    with pytest.raises(QueryRefused, match="limit"):
        make_shard(make_table(20)).search(make_queries(1), k)


def test_wrong_dimension_is_refused() -> None:
    with pytest.raises(QueryRefused, match="length 16"):
        make_shard(make_table(20)).search(make_queries(1, 15), 3)
