"""The short way of a lone query against the general one."""

import numpy as np
import pytest

from reelspace.search.compute.build import IndexSettings, Table, build_parts, checked_table, rows_of_table
from reelspace.search.compute.filters import Filter, NumberRange, encode_filter
from reelspace.search.compute.shard import Shard
from reelspace.search.storage.entries import Entry, Write
from reelspace.search.storage.layout import Metric, VectorSettings
from reelspace.search.storage.rows import Change, Op, VectorField, rows_of

from .builders import make_queries, make_table

WHERE = encode_filter(Filter(must=(NumberRange("number", lt=3000),)))


def make(table: Table, metric: Metric = "cosine") -> Shard:
    settings = IndexSettings(flat_below=1, recall_target=0.9, num_recall_queries=64)
    return Shard(build_parts(rows_of_table(checked_table(table), VectorSettings(dimension=16, metric=metric)), settings))


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclid"])
@pytest.mark.parametrize("where", [b"", WHERE])
def test_both_ways_give_the_same_hits_and_scores(metric: Metric, where: bytes) -> None:
    shard, queries_QD = make(make_table(3000, clusters=40), metric), make_queries(100)
    shard.search(queries_QD, 10, where=where)
    num_answered = 0
    for query_D in queries_QD:
        lone = shard.lone(query_D, 10, "", where)
        if lone is not None:
            num_answered += 1
            found = shard.search(query_D[None], 10, where=where)
            assert lone == (found.rows_QK[0].tolist(), found.scores_QK[0].tolist())
    assert num_answered >= 90


def test_ties_fresh_rows_deletes_and_strange_queries_are_left_to_the_general_way() -> None:
    table = make_table(1000, num_twins=500)
    shard = make(table)
    twin_D = table.vectors_ND[0]
    assert shard.lone(twin_D, 1, "", b"") is None
    assert shard.lone(make_queries(1)[0], 2048, "", b"") is None
    assert shard.lone(make_queries(1)[0] * np.float32(np.nan), 3, "", b"") is None
    assert shard.lone(make_queries(1)[0] * 2, 3, "", b"") is None
    assert shard.lone(make_queries(1)[0], 3, "other", b"") is None
    assert shard.lone(make_queries(1)[0], 3, "", WHERE) is None, "never asked before"
    unique = make(make_table(1000))
    assert unique.lone(make_queries(1)[0], 3, "", b"") is not None
    gone = [Change(Op.DELETE, int(make_table(1000).ids_N[0]))]
    unique.apply(Entry(1, (Write("k", 1, rows_of(gone, {"": VectorField(16, "cosine")})),)))
    assert unique.lone(make_queries(1)[0], 3, "", b"") is None
    fresh = make(make_table(1000))
    new = [Change(Op.UPSERT, 10**9, {"": make_queries(1)[0]})]
    fresh.apply(Entry(1, (Write("k", 1, rows_of(new, {"": VectorField(16, "cosine")})),)))
    assert fresh.lone(make_queries(1)[0], 3, "", b"") is None
