"""Logs that forwarders fill, one of them after a long sleep: each write once, in order, and none behind the mark."""

import threading
from pathlib import Path

import pytest

from reelspace.core.local_store import LocalStore
from reelspace.core.store import Store
from reelspace.search.storage import forwarded_log as forwarded_module
from reelspace.search.storage.entries import Write, forwarded_key
from reelspace.search.storage.forwarded_log import ForwardedLog, LogOpened
from reelspace.search.storage.log import Log
from reelspace.search.storage.marks import Mark
from reelspace.search.storage.reader import read_from
from reelspace.search.storage.writer import LogWriter, RequestKeyReused

from .builders import OneTime, WatchedStore, expected, lose, make_log, points_of, rows, upsert

MARK = Mark("moved_from", "videos@44556677", 9)


def forwarded(number: int, shard: int = 0, key: str | None = None, value: float = 1.0) -> Write:
    return Write(forwarded_key(key or f"k{number}", shard, number), 5, rows(upsert(number, value)))


def keys(log: Log) -> list[str]:
    return [write.request_key for entry in read_from(log, 0) for write in entry.writes]


def test_what_two_bring_over_enters_once_and_in_order(store: Store) -> None:
    log = make_log(store)
    one, other = ForwardedLog(log), ForwardedLog(log)
    writes = [forwarded(number) for number in range(1, 9)]
    one.add(writes[:3])
    other.add(writes[:5])
    one.add(writes[2:6])
    ForwardedLog(log).add(writes)
    other.add(writes[:2])
    assert keys(log) == [write.request_key for write in writes]


def test_threads_that_bring_over_two_old_logs_keep_the_order_of_each(tmp_path: Path) -> None:
    log = make_log(LocalStore(tmp_path))
    logs = ForwardedLog(log), ForwardedLog(log)

    def bring(into: ForwardedLog, shard: int) -> None:
        for number in range(1, 40):
            into.add([forwarded(number, shard), forwarded(number + 1, shard)])

    threads = [threading.Thread(target=bring, args=(into, shard)) for into in logs for shard in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for shard in (0, 1):
        assert [key for key in keys(log) if f"\0{shard}." in key] == [forwarded(number, shard).request_key for number in range(1, 41)]


def test_a_key_that_was_used_twice_is_brought_over_twice_and_known_by_its_last_use(store: Store) -> None:
    log = make_log(store)
    ForwardedLog(log).add([forwarded(1, key="again", value=1.0), forwarded(2, key="again", value=2.0)])
    with LogWriter(log) as writer:
        assert writer.append("again", rows(upsert(2, 2.0))) == 1
        with pytest.raises(RequestKeyReused):
            writer.append("again", rows(upsert(1, 1.0)))
    assert points_of(log) == expected({1: 1.0, 2: 2.0})


def test_a_lost_answer_neither_loses_nor_doubles(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    log = ForwardedLog(make_log(store))
    for number in range(1, 4):
        store.after = OneTime("put_if_absent", f"{number}.arrow", lose)
        with pytest.raises(Exception, match="lost"):
            log.add([forwarded(number)])
        log.add([forwarded(number)])
    assert keys(make_log(store)) == [forwarded(number).request_key for number in range(1, 4)]


def test_much_is_cut_into_several_objects(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarded_module, "MAX_OBJECT_BYTES", 2 * forwarded(1).rows.size_bytes)
    log = make_log(store)
    ForwardedLog(log).add([forwarded(number) for number in range(1, 6)])
    assert [len(entry.writes) for entry in read_from(log, 0)] == [2, 2, 1]


def test_one_who_slept_writes_nothing_behind_the_mark(store: Store) -> None:
    log = make_log(store)
    slept, fresh = ForwardedLog(log), ForwardedLog(log)
    slept.add([forwarded(1)])
    fresh.add([forwarded(1), forwarded(2)])
    assert [fresh.open_to_clients(MARK), ForwardedLog(log).open_to_clients(MARK)] == [3, 3]
    with LogWriter(log) as writer:
        assert writer.append("k2", rows(upsert(2, 1.0))) == 2
        assert writer.append("c", rows(upsert(2, 9.0))) == 4
    slept.add([forwarded(2)])
    with pytest.raises(LogOpened, match="clients write to it now"):
        slept.add([forwarded(3)])
    assert slept.open_to_clients(MARK) == 3
    assert points_of(log) == expected({1: 1.0, 2: 9.0})


@pytest.mark.parametrize("knows", [True, False])
def test_one_who_slept_while_the_log_was_dropped_writes_nothing_that_counts(store: Store, knows: bool) -> None:
    log = make_log(store)
    slept = ForwardedLog(log)
    if knows:
        slept.add([forwarded(1)])
    fresh = ForwardedLog(log)
    fresh.add([forwarded(1), forwarded(2)])
    fresh.open_to_clients(MARK)
    with LogWriter(log) as writer:
        last = writer.append("c", rows(upsert(2, 9.0)))
        log.drop(last - 1)
        for _ in range(2):
            with pytest.raises(LogOpened):
                slept.add([forwarded(2)])
            with pytest.raises(LogOpened):
                slept.open_to_clients(MARK)
        assert writer.append("d", rows(upsert(3, 3.0))) == last + 1
    assert points_of(log, after=last - 1) == expected({2: 9.0, 3: 3.0})
