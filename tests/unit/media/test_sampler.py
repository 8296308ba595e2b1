"""The reading order: a pure function of seed and cursor.

Shapes: N rows, B samples of a batch.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelspace.media.sampler import Sampler, order, share

SHARDS_N = np.repeat(np.arange(10), [7, 9, 3, 8, 10, 1, 5, 6, 12, 4])


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(0, 2**63), st.integers(0, 50), st.integers(1, 5))
def test_an_epoch_holds_every_row_once(shards: list[int], seed: int, epoch: int, window: int) -> None:
    rows_N = order(seed, epoch, np.array(shards), window)
    assert sorted(rows_N.tolist()) == list(range(len(shards)))


def test_same_seed_and_epoch_same_order_any_other_another() -> None:
    first = order(1, 0, SHARDS_N)
    assert np.array_equal(first, order(1, 0, SHARDS_N))
    assert not np.array_equal(first, order(1, 1, SHARDS_N))
    assert not np.array_equal(first, order(2, 0, SHARDS_N))


@pytest.mark.parametrize("window", [1, 3, 10])
def test_at_most_a_window_of_shards_is_read_at_a_time(window: int) -> None:
    shards_N = SHARDS_N[order(4, 0, SHARDS_N, window)]
    first_seen = {shard: int(np.flatnonzero(shards_N == shard)[0]) for shard in range(10)}
    last_seen = {shard: int(np.flatnonzero(shards_N == shard)[-1]) for shard in range(10)}
    open_at_once = max(sum(first_seen[s] <= at <= last_seen[s] for s in range(10)) for at in range(len(shards_N)))
    assert open_at_once <= window


def test_every_row_comes_first_about_equally_often() -> None:
    counts = np.bincount([order(0, epoch, np.zeros(8, dtype=np.int64))[0] for epoch in range(4000)], minlength=8)
    assert np.abs(counts / 4000 - 1 / 8).max() < 0.03


@given(st.integers(0, 500), st.lists(st.integers(0, 90), max_size=8))
def test_any_cutting_of_the_stream_gives_the_same_rows(cursor: int, sizes: list[int]) -> None:
    sampler = Sampler(9, SHARDS_N)
    parts, at = [], cursor
    for size in sizes:
        parts.append(sampler.rows(at, size))
        at += size
    joined = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    assert np.array_equal(joined, Sampler(9, SHARDS_N).rows(cursor, sum(sizes)))


def test_ranks_of_any_world_size_make_up_the_same_batches() -> None:
    sampler = Sampler(3, SHARDS_N)
    for step in range(12):
        rows_B = sampler.rows(step * 12, 12)
        for world_size in (1, 2, 3, 4):
            parts = [share(Sampler(3, SHARDS_N).rows(step * 12, 12), rank, world_size) for rank in range(world_size)]
            assert np.array_equal(np.concatenate(parts), rows_B)


def test_a_batch_larger_than_the_data_crosses_epochs() -> None:
    rows_B = Sampler(0, np.zeros(3, dtype=np.int64)).rows(2, 10)
    assert sorted(rows_B[1:4].tolist()) == sorted(rows_B[4:7].tolist()) == [0, 1, 2]
