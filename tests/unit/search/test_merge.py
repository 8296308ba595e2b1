import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelspace.search.access.merge import Hits, ShapeMismatch, merge_hits

# Few distinct scores, so that ties are common.
rows = st.dictionaries(st.integers(0, 60), st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0]), max_size=12)
shards = st.lists(st.lists(rows, min_size=2, max_size=2), min_size=1, max_size=4)


def part_of(number: int, queries: list[dict[int, float]]) -> Hits:
    """Make one shard's answer; ids of different shards never meet."""
    width = max(map(len, queries))
    ids_QK = np.full((len(queries), width), -1, dtype=np.int64)
    scores_QK = np.full((len(queries), width), -np.inf, dtype=np.float32)
    for query, found in enumerate(queries):
        ranked = sorted((-score, 100 * one + number) for one, score in found.items())
        ids_QK[query, : len(ranked)] = [one for _, one in ranked]
        scores_QK[query, : len(ranked)] = [-score for score, _ in ranked]
    return Hits(ids_QK, scores_QK)


@settings(deadline=None, max_examples=200)
@given(shards, st.integers(1, 30))
def test_merged_hits_equal_sorting_everything(found: list[list[dict[int, float]]], k: int) -> None:
    parts = [part_of(number, queries) for number, queries in enumerate(found)]
    merged = merge_hits(parts, k)
    for query in range(2):
        everything = [(-score, 100 * one + number) for number, queries in enumerate(found) for one, score in queries[query].items()]
        expected = sorted(everything)[:k]
        padding = k - len(expected)
        assert merged.hits.ids_QK[query].tolist() == [one for _, one in expected] + [-1] * padding
        assert merged.hits.scores_QK[query].tolist() == [-score for score, _ in expected] + [-np.inf] * padding


@settings(deadline=None, max_examples=100)
@given(shards, st.integers(1, 30))
def test_every_hit_says_where_it_came_from(found: list[list[dict[int, float]]], k: int) -> None:
    parts = [part_of(number, queries) for number, queries in enumerate(found)]
    merged = merge_hits(parts, k)
    for query, column in np.argwhere(merged.hits.ids_QK >= 0):
        source = parts[merged.parts_QK[query, column]]
        assert source.ids_QK[query, merged.columns_QK[query, column]] == merged.hits.ids_QK[query, column]


@settings(deadline=None, max_examples=100)
@given(shards, st.integers(1, 30), st.randoms(use_true_random=False))
def test_order_of_the_shards_does_not_matter(found: list[list[dict[int, float]]], k: int, random: object) -> None:
    parts = [part_of(number, queries) for number, queries in enumerate(found)]
    shuffled = list(parts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert (merge_hits(parts, k).hits.ids_QK == merge_hits(shuffled, k).hits.ids_QK).all()


@settings(deadline=None, max_examples=100)
@given(shards, st.integers(1, 30))
def test_merging_in_two_steps_changes_nothing(found: list[list[dict[int, float]]], k: int) -> None:
    parts = [part_of(number, queries) for number, queries in enumerate(found)]
    in_two_steps = merge_hits([merge_hits(parts[:1], k).hits, *parts[1:]], k)
    assert (merge_hits(parts, k).hits.ids_QK == in_two_steps.hits.ids_QK).all()


def test_shards_that_answered_other_numbers_of_queries_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match=r"\[1, 2\]"):
        merge_hits([part_of(0, [{1: 0.5}]), part_of(1, [{1: 0.5}, {2: 0.5}])], 3)
