from pathlib import Path

import pytest

from reelspace.core.errors import CorruptArtifact
from reelspace.core.local_store import LocalStore
from reelspace.core.store import Store
from reelspace.search.storage.entries import Entry, Write
from reelspace.search.storage.log import Log
from reelspace.search.storage.reader import LogGap, LogTail, LogTimeout, read_from

from .builders import OneTime, WatchedStore, damaged, expected, make_log, points_of, rows, upsert


def fill(log: Log, first: int, last: int) -> None:
    for number in range(first, last + 1):
        log.append(number, [Write(f"k{number}", 0, rows(upsert(number, float(number))))])


def polled(tail: LogTail) -> list[int]:
    return [entry.number for entry in tail.poll()]


def test_a_tail_gives_each_number_once_in_order(store: Store) -> None:
    log = make_log(store)
    tail = LogTail(log, 0)
    assert polled(tail) == []
    fill(log, 1, 3)
    assert polled(tail) == [1, 2, 3]
    assert polled(tail) == []
    fill(log, 4, 9)
    assert [entry.number for entry in tail.poll(max_entries=2)] == [4, 5]
    assert polled(tail) == [6, 7, 8, 9]


def test_a_tail_starts_after_what_its_generation_contains(store: Store) -> None:
    log = make_log(store)
    fill(log, 1, 5)
    log.drop(3)
    assert [entry.number for entry in read_from(log, 3)] == [4, 5]
    assert [entry.number for entry in read_from(log, 5)] == []
    assert points_of(log, 4) == expected({5: 5.0})


def test_a_tail_that_slept_through_a_truncation_is_told_to_reload(store: Store) -> None:
    log = make_log(store)
    fill(log, 1, 5)
    tail = LogTail(log, 0)
    assert [entry.number for entry in tail.poll(max_entries=2)] == [1, 2]
    log.drop(4)
    with pytest.raises(LogGap, match="dropped up to 4, it was read up to 2: reload the generation"):
        tail.poll()
    assert tail.number == 2


def test_what_a_sleeping_writer_puts_below_the_floor_is_never_given(tmp_path: Path) -> None:
    log = make_log(LocalStore(tmp_path))
    fill(log, 1, 5)
    tail = LogTail(log, 0)
    assert len(tail.poll(max_entries=2)) == 2
    log.drop(5)
    log.append(3, [Write("late", 0, rows(upsert(99, 9.0)))])
    with pytest.raises(LogGap):
        tail.poll()
    fill(log, 6, 6)
    assert [entry.number for entry in read_from(log, 5)] == [6]
    log.store.put(log.key(3), b"damaged")
    with pytest.raises(LogGap):
        tail.poll()


def test_a_floor_that_rises_between_two_reads_gives_nothing_of_them(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    log, quiet = make_log(store), make_log(LocalStore(tmp_path))
    fill(quiet, 1, 4)
    store.after = OneTime("get", "2.arrow", lambda: quiet.drop(4))
    tail = LogTail(log, 0)
    with pytest.raises(LogGap):
        tail.poll()
    assert tail.number == 0


def test_a_number_that_is_missing_below_the_last_is_named_not_taken_for_the_end(store: Store) -> None:
    log = make_log(store)
    fill(log, 1, 5)
    store.delete(log.key(3))
    given = []
    with pytest.raises(CorruptArtifact, match=r"0003\.arrow is missing, though number 5 is there"):
        given.extend(read_from(log, 0))


def test_every_damage_of_an_object_is_refused_by_name_and_what_is_before_it_given(tmp_path: Path) -> None:
    log = make_log(LocalStore(tmp_path))
    fill(log, 1, 2)
    whole = log.store.get(log.key(2))
    path = tmp_path / log.key(2)
    for data in [*list(damaged(whole))[::29], b"", log.store.get(log.key(1))]:
        path.write_bytes(data)
        tail = LogTail(log, 0)
        assert polled(tail) == [1]
        with pytest.raises(CorruptArtifact, match=r"0002\.arrow is corrupt"):
            tail.poll()
        assert tail.number == 1
    path.write_bytes(whole)
    assert points_of(log) == expected({1: 1.0, 2: 2.0})


def test_waiting_for_a_number_applies_everything_up_to_it_and_ends_in_time(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    log, quiet = make_log(store), make_log(LocalStore(tmp_path))
    fill(quiet, 1, 2)
    store.before = OneTime("get", "3.arrow", lambda: fill(quiet, 3, 4))
    applied: list[Entry] = []
    tail = LogTail(log, 0)
    tail.wait_for(4, applied.append, timeout_s=5.0)
    assert [entry.number for entry in applied] == [1, 2, 3, 4]
    with pytest.raises(LogTimeout, match=r"0005\.arrow did not come within 0\.05 s; 4 is the last"):
        tail.wait_for(5, applied.append, timeout_s=0.05)
