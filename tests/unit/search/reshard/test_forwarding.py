"""Logs that are brought over: in order, once, and from where another has stopped."""

from pathlib import Path

import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.scheduling.forwarding import Forwarder, Forwarding
from reelspace.search.storage.entries import Write
from reelspace.search.storage.former_shards import FormerShards
from reelspace.search.storage.forwarded_log import ForwardedLog
from reelspace.search.storage.log import Log
from reelspace.search.storage.log_end import end_log
from reelspace.search.storage.reader import LogGap, read_from
from reelspace.search.storage.rows import Change, Op, VectorField, rows_of

FIELDS = {"": VectorField(2, "euclid")}
SECOND_US = 1_000_000


def old_log(store: LocalStore, num: int) -> Log:
    """A log of one object a second, each with a row of its number."""
    log = Log(store, "old@00000000", 0, FIELDS)
    for number in range(1, num + 1):
        log.append(number, [Write(f"k{number}#1", number * SECOND_US, rows_of([Change(Op.UPSERT, number, {"": [number, 0]})], FIELDS))])
    return log


def new_logs(store: LocalStore, num: int) -> list[Log]:
    return [Log(store, "new@00000000", shard, FIELDS) for shard in range(num)]


def forwarder(old: Log, new: list[Log], after: int, now_us: int = 0) -> Forwarder:
    return Forwarder(old, FormerShards((), 1), [ForwardedLog(one) for one in new], after, lambda: now_us)


def keys(logs: list[Log]) -> list[str]:
    found = [write.client_key for log in logs for entry in read_from(log, 0) for write in entry.writes]
    return sorted(found, key=lambda key: int(key[1:-2]))


def test_one_that_goes_on_finds_the_end_and_brings_nothing_twice(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    old, new = old_log(store, 40), new_logs(store, 3)
    first = forwarder(old, new, 0)
    assert (first.forward(), first.number, first.has_ended) == (32, 32, False)
    assert (first.forward(), first.forward(), first.number) == (8, 0, 40)
    assert end_log(old, "new@00000000", first.number, 0) == 41
    for one in (first, forwarder(old, new, 10), forwarder(old, new, 40), forwarder(old, new, first.number)):
        while one.forward():
            pass
        assert (one.has_ended, one.number) == (True, 40)
        assert end_log(old, "new@00000000", one.number, 0) == 41
    assert keys(new) == [f"k{number}#1" for number in range(1, 41)]


@pytest.mark.parametrize("now_us", [0, 20 * SECOND_US, 36_000 * SECOND_US])
def test_of_what_a_generation_has_all_keys_are_brought_that_the_log_has_whatever_the_time_is(tmp_path: Path, now_us: int) -> None:
    store = LocalStore(tmp_path)
    old, new = old_log(store, 40), new_logs(store, 2)
    old.drop(3)
    forwarder(old, new, 0, now_us).bring_keys(35)
    assert keys(new) == [f"k{number}#1" for number in range(4, 36)]
    assert {write.at_us for log in new for entry in read_from(log, 0) for write in entry.writes} == {now_us}
    forwarder(old, new, 38, now_us).bring_keys(35)
    assert len(keys(new)) == 32


def test_what_was_dropped_before_it_was_brought_over_is_an_error(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    old, new = old_log(store, 5), new_logs(store, 2)
    one = forwarder(old, new, 2)
    old.drop(4)
    with Forwarding([one]) as forwarding, pytest.raises(LogGap):
        forwarding.round()
    assert one.number == 2
