from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelspace.search.access.merge import Merged, ShapeMismatch, all_records, first_records, merge_answers, total
from reelspace.search.compute.queries import ReadAnswer, Record, ShardAnswer
from reelspace.search.storage.ids import NO_ID, Id, id_order, id_words

# Few distinct scores, so that ties are common.
rows = st.dictionaries(st.integers(0, 60), st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0]), max_size=12)
shards = st.lists(st.lists(rows, min_size=2, max_size=2), min_size=1, max_size=4)


def id_of(number: int, one: int) -> Id:
    """Ids of different shards never meet; every third is a UUID."""
    return UUID(int=(one << 70) + number) if one % 3 == 0 else 100 * one + number


def ranked(number: int, found: dict[int, float]) -> list[tuple[Id, float]]:
    hits = [(id_of(number, one), score) for one, score in found.items()]
    return sorted(hits, key=lambda hit: (-hit[1], id_order(hit[0])))


def part_of(number: int, queries: list[dict[int, float]]) -> ShardAnswer:
    """Make one shard's answer."""
    width = max(map(len, queries))
    ids_QK3 = np.full((len(queries), width, 3), NO_ID, dtype=np.uint64)
    scores_QK = np.full((len(queries), width), -np.inf, dtype=np.float32)
    for query, found in enumerate(queries):
        hits = ranked(number, found)
        ids_QK3[query, : len(hits)] = id_words([id for id, _ in hits])
        scores_QK[query, : len(hits)] = [score for _, score in hits]
    return ShardAnswer(ids_QK3, scores_QK)


def hits_of(merged: Merged, query: int) -> list[tuple[Id, float]]:
    ids = merged.ids()[query]
    return list(zip(ids, merged.scores_QK[query, : len(ids)].tolist(), strict=True))


@settings(deadline=None, max_examples=200)
@given(shards, st.integers(1, 30))
def test_merged_hits_equal_sorting_everything(found: list[list[dict[int, float]]], k: int) -> None:
    merged = merge_answers([part_of(number, queries) for number, queries in enumerate(found)], k)
    for query in range(2):
        everything = [hit for number, queries in enumerate(found) for hit in ranked(number, queries[query])]
        everything.sort(key=lambda hit: (-hit[1], id_order(hit[0])))
        assert hits_of(merged, query) == everything[:k]


@settings(deadline=None, max_examples=60)
@given(shards, st.integers(1, 30))
def test_every_hit_says_where_it_came_from(found: list[list[dict[int, float]]], k: int) -> None:
    parts = [part_of(number, queries) for number, queries in enumerate(found)]
    merged = merge_answers(parts, k)
    for query in range(2):
        for hit in range(len(merged.ids()[query])):
            part, column = merged.place(query, hit)
            assert (parts[part].ids_QK3[query, column] == merged.ids_QK3[query, hit]).all()


@settings(deadline=None, max_examples=60)
@given(shards, st.integers(1, 30), st.randoms(use_true_random=False))
def test_order_of_the_shards_does_not_matter(found: list[list[dict[int, float]]], k: int, random: object) -> None:
    parts = [part_of(number, queries) for number, queries in enumerate(found)]
    shuffled = list(parts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = merge_answers(parts, k), merge_answers(shuffled, k)
    assert [hits_of(one, query) for query in range(2)] == [hits_of(other, query) for query in range(2)]


def test_shards_that_answered_other_numbers_of_queries_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match=r"\[1, 2\]"):
        merge_answers([part_of(0, [{1: 0.5}]), part_of(1, [{1: 0.5}, {2: 0.5}])], 3)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.one_of(st.integers(0, 2**64 - 1), st.uuids()), unique=True, max_size=8), max_size=4), st.integers(0, 20))
def test_rows_of_several_shards_are_one_list_in_the_order_of_ids_and_counts_one_sum(ids: list[list[Id]], limit: int) -> None:
    pages: list[ReadAnswer] = [[Record(id) for id in sorted(shard, key=id_order)] for shard in ids]
    flat = [id for shard in ids for id in shard]
    assert [one.id for one in first_records(pages, limit)] == sorted(flat, key=id_order)[:limit]
    assert sorted((one.id for one in all_records(pages)), key=id_order) == sorted(flat, key=id_order)
    assert total([len(shard) for shard in ids]) == len(flat)
