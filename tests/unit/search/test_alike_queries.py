"""Queries in columns: the same to a shard, and on their way to one, as the list of them."""

from typing import Any

import numpy as np
import pytest

from reelspace.search.compute.filters import Filter, HasId, encode_filter
from reelspace.search.compute.queries import AlikeQueries, ShardQuery, joined
from reelspace.search.compute.service import answer_queries
from reelspace.search.compute.signature import PAYLOAD, SCORES
from reelspace.search.compute.tensors import queries_of, query_tensors, wanted_outputs

from .builders import make_queries, make_shard, make_table

EVEN = encode_filter(Filter(must=(HasId(tuple(range(8, 300, 6))),)))


def values(query: ShardQuery) -> Any:
    names = ("k", "using", "where", "excluded", "with_payload", "with_vectors")
    return query.vector_D.tolist(), *(getattr(query, name) for name in names)


@pytest.mark.parametrize(
    "fields",
    [
        {"k": 3},
        {"k": 5, "where": EVEN},
        {"k": 2, "where": EVEN, "with_payload": True},
        {"k": 4, "with_payload": True, "with_vectors": ("",)},
    ],
    ids=str,
)
def test_queries_in_columns_are_answered_and_travel_as_the_list_of_them(fields: dict[str, Any]) -> None:
    shard, alike = make_shard(make_table(100, num_twins=10)), AlikeQueries(make_queries(9), **fields)
    singles = [alike[number] for number in range(9)]
    found, expected = (answer_queries(shard, queries) for queries in (alike, singles))
    assert found.ids_QK3.tolist() == expected.ids_QK3.tolist()
    assert found.scores_QK.tolist() == expected.scores_QK.tolist()
    for one, other in ((found.payloads_QK, expected.payloads_QK), (found.vectors_QK, expected.vectors_QK)):
        assert (one is None and other is None) or one.tolist() == other.tolist()  # type: ignore[union-attr]
    assert wanted_outputs(alike) == wanted_outputs(singles)
    arrived = [queries_of(query_tensors(queries), frozenset(wanted_outputs(alike))) for queries in (alike, singles)]
    assert all(isinstance(queries, AlikeQueries) for queries in arrived)
    assert [[*map(values, queries)] for queries in arrived] == [[*map(values, singles)]] * 2


@pytest.mark.parametrize("odd", [{"k": 4}, {"where": EVEN}, {"excluded": (8,)}, {"using": "other"}, {"with_vectors": ("",)}], ids=str)
def test_one_query_that_asks_for_something_else_keeps_all_from_columns(odd: dict[str, Any]) -> None:
    vectors_QD = make_queries(4)
    singles = [ShardQuery(vector_D, **({"k": 3} | (odd if number == 2 else {}))) for number, vector_D in enumerate(vectors_QD)]
    arrived = queries_of(query_tensors(singles), frozenset({SCORES}))
    assert [*map(values, arrived)] == [*map(values, singles)]


def test_parts_are_put_side_by_side_in_their_order() -> None:
    vectors_QD = make_queries(9)
    parts = [AlikeQueries(vectors_QD[:4], 3), AlikeQueries(vectors_QD[4:5], 3), AlikeQueries(vectors_QD[5:], 3)]
    whole = joined(parts)
    assert isinstance(whole, AlikeQueries)
    assert np.array_equal(whole.vectors_QD, vectors_QD)
    others: list[Any] = [
        AlikeQueries(vectors_QD[:2], 4),
        AlikeQueries(vectors_QD[:2], 3, where=EVEN),
        AlikeQueries(vectors_QD[:2], 3, with_payload=True),
        AlikeQueries(vectors_QD[:2, :8], 3),
        (ShardQuery(vectors_QD[0], 3, excluded=(8,)),),
    ]
    for other in others:
        mixed = joined([*parts, other])
        assert not isinstance(mixed, AlikeQueries)
        assert [*map(values, mixed)] == [*map(values, [*whole, *other])]


def test_tensors_of_payloads_are_asked_for_by_name() -> None:
    assert PAYLOAD in wanted_outputs(AlikeQueries(make_queries(2), 3, with_payload=True))
