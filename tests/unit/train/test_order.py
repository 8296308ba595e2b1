"""The order of works: every epoch whole batches of distinct works, the same for any number of processes, from any step on."""

from dataclasses import replace

import numpy as np
import pytest

from reelspace.core.errors import UserError
from reelspace.train.assembly import learned_with
from reelspace.train.batches import Batches, make_batch
from reelspace.train.group import Group
from reelspace.train.order import order_of
from reelspace.train.settings import ReadingSettings, TrainSettings
from tests.unit.train.builders import make_data, make_tokenizer

SHARD_N = np.repeat(np.arange(10), [1, 3, 2, 2, 4, 1, 2, 3, 1, 1])


def settings_of(**changes: object) -> TrainSettings:
    return TrainSettings(order="shuffled", seed=3).model_copy(update=changes)


@pytest.mark.parametrize("batch_size", [2, 3, 4, 5, 7, 20])
def test_an_epoch_shows_every_work_once_but_for_those_that_fill_no_batch(batch_size: int):
    data = replace(make_data(), shard_N=SHARD_N)
    rows_of = order_of(data, settings_of(batch_size=batch_size))
    per_epoch = 20 // batch_size
    left_out = set()
    for epoch in range(60):
        seen = np.concatenate([rows_of(epoch * per_epoch + number) for number in range(per_epoch)]).tolist()
        assert len(seen) == len(set(seen)) == per_epoch * batch_size
        left_out |= set(range(20)) - set(seen)
    # Nobody is left out for good: where works do not fill a batch, they are other ones each time.
    assert left_out == (set(range(20)) if 20 % batch_size else set())


@pytest.mark.parametrize("order", ["weighted", "shuffled"])
def test_processes_of_any_number_share_the_same_global_batches(order: str):
    data = replace(make_data(), shard_N=SHARD_N)
    tokenizer = make_tokenizer(data)
    settings = settings_of(batch_size=12, order=order)
    for step in range(4):
        expected = sorted(data.ids_N[order_of(data, settings)(step)].tolist())
        for world_size in (1, 2, 3, 4, 6):
            parts = [make_batch(data, tokenizer, settings, step, rank, world_size).ids_B.tolist() for rank in range(world_size)]
            assert {len(part) for part in parts} == {12 // world_size}
            assert sorted(video_id for part in parts for video_id in part) == expected


def test_other_seeds_and_epochs_have_other_orders():
    data = replace(make_data(), shard_N=SHARD_N)
    rows_of, other = order_of(data, settings_of(batch_size=5)), order_of(data, settings_of(batch_size=5, seed=4))
    epochs = [np.concatenate([rows_of(epoch * 4 + number) for number in range(4)]).tolist() for epoch in range(5)]
    assert len(set(map(tuple, epochs))) == 5
    assert epochs[0] != np.concatenate([other(number) for number in range(4)]).tolist()


def test_an_order_taken_up_in_the_middle_goes_on_where_it_was():
    data = replace(make_data(), shard_N=SHARD_N)
    settings = settings_of(batch_size=3)
    whole = order_of(data, settings)
    straight = [whole(step).tolist() for step in range(40)]
    resumed = order_of(data, settings)
    assert [resumed(step).tolist() for step in range(23, 40)] == straight[23:]


def test_a_step_reads_of_a_window_of_shards_and_the_one_after_it():
    data = replace(make_data(), shard_N=SHARD_N)
    rows_of = order_of(data, settings_of(batch_size=2, order_window=2))
    assert max(len(set(SHARD_N[rows_of(step)].tolist())) for step in range(100)) == 2
    alone = order_of(data, settings_of(batch_size=2, order_window=1))
    first_seen: dict[int, int] = {}
    last_seen: dict[int, int] = {}
    for step in range(10):
        for shard in SHARD_N[alone(step)].tolist():
            first_seen.setdefault(shard, step)
            last_seen[shard] = step
    # A shard is over within the steps that its works fill: at most 4 works, so at most 3 steps.
    assert all(last_seen[shard] - first_seen[shard] <= 2 for shard in first_seen)


@pytest.mark.parametrize("order", ["weighted", "shuffled"])
def test_a_batch_larger_than_the_corpus_is_refused_before_the_first_step(order: str):
    data = make_data(5)
    with pytest.raises(UserError, match=r"batch_size is 6 and 5 works train.*lower batch_size"):
        Batches(data, make_tokenizer(make_data()), settings_of(batch_size=6, order=order))


def test_a_batch_that_the_processes_cannot_share_evenly_is_refused_before_the_first_step():
    data = make_data()
    with pytest.raises(UserError, match="batch_size is 8, expected a multiple of the 3 processes"):
        Batches(data, make_tokenizer(data), settings_of(batch_size=8), Group(1, 3))


def test_a_resume_may_read_otherwise_but_not_in_another_order():
    settings = settings_of()
    elsewhere = settings_of(reading=ReadingSettings(memory_mib=0, cache="/somewhere", prefetch=0))
    assert learned_with(elsewhere) == learned_with(settings)
    assert learned_with(settings_of(order="weighted")) != learned_with(settings)
    assert learned_with(settings_of(order_window=5)) != learned_with(settings)
