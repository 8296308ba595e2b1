import errno
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from reelspace.core.errors import (
    ArtifactMissing,
    CorruptArtifact,
    DiskFull,
    InternalError,
    SettingError,
    StoreUnavailable,
    TemporaryError,
    UserError,
)
from reelspace.core.local_store import LocalStore
from reelspace.core.store import Store
from reelspace.search.storage import writer as writer_module
from reelspace.search.storage.entries import Write
from reelspace.search.storage.reader import read_from
from reelspace.search.storage.rows import RowRefused
from reelspace.search.storage.writer import Clock, LogBusy, LogWriter, RequestKeyReused

from .builders import OneTime, WatchedStore, delete, expected, keys_of, lose, make_log, points_of, rows, upsert


@dataclass
class HandClock:
    """Time that moves when a test says so."""

    now_s: float = 1000.0
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(now_us=lambda: int(self.now_s * 1e6), monotonic_s=lambda: self.now_s)

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


def test_an_acknowledged_write_is_in_the_log_under_its_number(store: Store) -> None:
    log = make_log(store)
    clock = HandClock(now_s=12.5)
    with LogWriter(log, clock=clock.clock) as writer:
        assert writer.append("a", rows(upsert(1, 1.0), upsert(2, 2.0))) == 1
        assert writer.append("b", rows(delete(1), upsert(3, 3.0))) == 2
    assert points_of(log) == expected({2: 2.0, 3: 3.0})
    assert [write.at_us for entry in read_from(log, 0) for write in entry.writes] == [12_500_000] * 2


def test_a_new_writer_goes_on_where_the_log_ends(store: Store) -> None:
    log = make_log(store)
    for number in range(1, 4):
        with LogWriter(log) as writer:
            assert writer.append(f"k{number}", rows(upsert(number, 1.0))) == number


def test_requests_that_wait_while_a_put_is_in_flight_share_the_next_object(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    log = make_log(store)
    started, release = threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        assert release.wait(10)

    store.before = OneTime("put_if_absent", "1.arrow", hold)
    with LogWriter(log) as writer:
        first = writer.submit("first", rows(upsert(0, 1.0)))
        assert started.wait(10)
        others = [writer.submit(f"k{number}", rows(upsert(number, float(number)))) for number in range(1, 21)]
        release.set()
        assert first.result(10) == 1
        assert {one.result(10) for one in others} == {2}
    assert keys_of(log) == ["first", *(f"k{number}" for number in range(1, 21))]


def test_a_group_is_cut_where_an_object_would_grow_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "MAX_OBJECT_BYTES", 3 * rows(upsert(1, 1.0)).size_bytes)
    store = WatchedStore(tmp_path)
    release = threading.Event()
    store.before = OneTime("put_if_absent", "1.arrow", lambda: release.wait(10))
    with LogWriter(make_log(store)) as writer:
        first = writer.submit("first", rows(upsert(0, 1.0)))
        time.sleep(0.1)
        others = [writer.submit(f"k{number}", rows(upsert(number, 1.0))) for number in range(7)]
        release.set()
        assert [first.result(10), *(one.result(10) for one in others)] == [1, 2, 2, 2, 3, 3, 3, 4]


def test_a_key_that_comes_again_is_acknowledged_with_its_first_number_and_written_once(store: Store) -> None:
    log = make_log(store)
    with LogWriter(log) as writer, LogWriter(log) as other:
        assert writer.append("a", rows(upsert(1, 1.0))) == 1
        assert writer.append("b", rows(upsert(1, 2.0))) == 2
        assert writer.append("a", rows(upsert(1, 1.0))) == 1
        assert other.append("a", rows(upsert(1, 1.0))) == 1
    with LogWriter(log) as later:
        assert later.append("b", rows(upsert(1, 2.0))) == 2
        assert later.append("a", rows(upsert(1, 1.0))) == 1
    assert keys_of(log) == ["a", "b"]
    assert points_of(log) == expected({1: 2.0})


def test_a_key_that_comes_twice_at_once_is_written_once(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    log = make_log(store)
    store.before = OneTime("put_if_absent", "1.arrow", lambda: time.sleep(0.2))
    with LogWriter(log) as writer:
        writer.submit("first", rows(upsert(0, 0.5)))
        time.sleep(0.1)
        twice = [writer.submit(key, rows(upsert(1, 1.0))) for key in ("a", "a", "b", "a")]
        assert [one.result(10) for one in twice] == [2, 2, 2, 2]
    assert keys_of(log) == ["first", "a", "b"]


def test_a_key_with_other_rows_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    log = make_log(LocalStore(tmp_path))
    with LogWriter(log) as writer, LogWriter(log) as other:
        writer.append("a", rows(upsert(1, 1.0)))
        for one in (writer, other):
            with pytest.raises(RequestKeyReused, match="request key 'a' came before with other rows"):
                one.append("a", rows(upsert(1, 2.0)))
    assert points_of(log) == expected({1: 1.0})


def test_a_lost_answer_neither_duplicates_nor_fails_a_write(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    log = make_log(store)
    with LogWriter(log) as writer:
        store.after = OneTime("put_if_absent", "1.arrow", lose)
        assert writer.append("a", rows(upsert(1, 1.0))) == 1
        store.before = OneTime("put_if_absent", "2.arrow", lose)
        assert writer.append("b", rows(upsert(2, 2.0))) == 2
        store.after = OneTime("get", "floor.json", lose)
        assert writer.append("c", rows(upsert(3, 3.0))) == 3
    with LogWriter(log) as later:
        store.after = OneTime("get", "2.arrow", lose)
        assert later.append("d", rows(upsert(4, 4.0))) == 4
    assert keys_of(log) == ["a", "b", "c", "d"]
    assert points_of(log) == expected({1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0})


def test_a_lost_answer_while_another_writer_takes_the_next_numbers_does_not_duplicate(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    log, quiet = make_log(store), make_log(LocalStore(tmp_path))

    def overtaken() -> None:
        with LogWriter(quiet) as other:
            assert other.append("other", rows(upsert(1, 2.0))) == 2
        lose()

    store.after = OneTime("put_if_absent", "1.arrow", overtaken)
    with LogWriter(log) as writer:
        assert writer.append("a", rows(upsert(1, 1.0))) == 1
    assert keys_of(log) == ["a", "other"]
    assert points_of(log) == expected({1: 2.0})


def test_a_request_sent_again_to_another_writer_while_its_first_put_is_in_flight_enters_once(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    log, quiet = make_log(store), make_log(LocalStore(tmp_path))

    def sent_again() -> None:
        with LogWriter(quiet) as other:
            assert other.append("a", rows(upsert(1, 1.0))) == 1
            assert other.append("b", rows(upsert(1, 2.0))) == 2

    store.before = OneTime("put_if_absent", "1.arrow", sent_again)
    with LogWriter(log) as writer:
        assert writer.append("a", rows(upsert(1, 1.0))) == 1
    assert keys_of(log) == ["a", "b"]
    assert points_of(log) == expected({1: 2.0})


@pytest.mark.parametrize("num_writers", [2, 4])
def test_racing_writers_lose_nothing_and_duplicate_nothing(tmp_path: Path, num_writers: int) -> None:
    log = make_log(LocalStore(tmp_path))
    acknowledged: list[tuple[str, int]] = []

    def write(name: int) -> None:
        with LogWriter(make_log(LocalStore(tmp_path))) as writer:
            for turn in range(5):
                keys = [f"{name}-{turn}-{number}" for number in range(4)]
                futures = [writer.submit(key, rows(upsert(hash_of(key), 1.0 + turn))) for key in keys]
                acknowledged.extend(zip(keys, (future.result(30) for future in futures), strict=True))

    run_together(write, num_writers)
    assert len(acknowledged) == num_writers * 20
    assert sorted(keys_of(log)) == sorted(key for key, _ in acknowledged)
    found = {write.request_key: entry.number for entry in read_from(log, 0) for write in entry.writes}
    assert found == dict(acknowledged)
    assert points_of(log) == expected({hash_of(key): 1.0 + int(key.split("-")[1]) for key, _ in acknowledged})


def hash_of(key: str) -> int:
    return int.from_bytes(key.encode(), "big")


def run_together(work: object, num: int) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(num)]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_writer_that_sleeps_before_its_put_through_a_truncation_is_acknowledged_above_the_floor_only(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    log, quiet = make_log(store), make_log(LocalStore(tmp_path))
    with LogWriter(log) as sleeper:
        assert sleeper.append("before", rows(upsert(0, 1.0))) == 1

        def truncated() -> None:
            with LogWriter(quiet) as other:
                for number in range(2, 7):
                    assert other.append(f"k{number}", rows(upsert(number, float(number)))) == number
            quiet.drop(5)

        store.before = OneTime("put_if_absent", "2.arrow", truncated)
        assert sleeper.append("slept", rows(upsert(2, 9.0))) == 7
        # What it put under number 2 lies below the floor, and nobody reads it.
        assert [quiet.store.exists(quiet.key(number)) for number in range(1, 6)] == [False, True, False, False, False]
        assert sleeper.append("next", rows(upsert(3, 9.0))) == 8
    assert keys_of(quiet, 5) == ["k6", "slept", "next"]
    quiet.drop(5)
    assert not quiet.store.exists(quiet.key(2))


def test_a_writer_that_sleeps_between_put_and_floor_is_not_acknowledged_below_it(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    log, quiet = make_log(store), make_log(LocalStore(tmp_path))
    with LogWriter(log) as sleeper:
        store.after = OneTime("put_if_absent", "1.arrow", lambda: quiet.drop(1))
        assert sleeper.append("slept", rows(upsert(2, 9.0))) == 2
    assert keys_of(quiet, 1) == ["slept"]


def test_two_sleepers_do_not_take_each_others_objects_below_the_floor_for_written(tmp_path: Path) -> None:
    stores = WatchedStore(tmp_path), WatchedStore(tmp_path)
    quiet = make_log(LocalStore(tmp_path))
    with LogWriter(make_log(stores[0])) as one, LogWriter(make_log(stores[1])) as two:
        assert one.append("first", rows(upsert(0, 1.0))) == 1
        assert two.append("first", rows(upsert(0, 1.0))) == 1

        def truncated() -> None:
            with LogWriter(quiet) as other:
                for number in range(2, 5):
                    other.append(f"k{number}", rows(upsert(number, 1.0)))
            quiet.drop(4)
            # The same request, by a writer that slept as long: its object lies below the floor.
            quiet.append(2, [Write("slept", 0, rows(upsert(2, 9.0)))])

        stores[0].before = OneTime("put_if_absent", "2.arrow", truncated)
        assert one.append("slept", rows(upsert(2, 9.0))) == 5
        assert two.append("slept", rows(upsert(2, 9.0))) == 5
    assert keys_of(quiet, 4) == ["slept"]


def test_a_writer_that_slept_beyond_its_deadline_does_not_write_again(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    log, quiet = make_log(store), make_log(LocalStore(tmp_path))
    clock = HandClock()

    def slept() -> None:
        quiet.drop(1)
        clock.advance(400.0)

    with LogWriter(log, deadline_s=30.0, clock=clock.clock) as sleeper:
        store.after = OneTime("put_if_absent", "1.arrow", slept)
        with pytest.raises(StoreUnavailable, match="not known to be written after 30 s; send it again under the same request key"):
            sleeper.append("slept", rows(upsert(2, 9.0)))
        assert keys_of(quiet, 1) == []
        assert sleeper.append("next", rows(upsert(3, 9.0))) == 2


def test_a_store_that_stays_away_fails_the_request_at_its_deadline_and_the_writer_goes_on(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    log = make_log(store)

    def away(_method: str, _key: str) -> None:
        lose()

    store.before = away
    with LogWriter(log, deadline_s=0.2) as writer:
        with pytest.raises(StoreUnavailable, match=r"shard 0 of .* after 0\.2 s: the answer was lost"):
            writer.append("a", rows(upsert(1, 1.0)))
        store.before = lambda _method, _key: None
        assert writer.append("a", rows(upsert(1, 1.0))) == 1
        store.after = away
        with pytest.raises(StoreUnavailable):
            writer.append("b", rows(upsert(1, 2.0)))
        store.after = lambda _method, _key: None
        assert writer.append("c", rows(upsert(1, 3.0))) == 3
        assert writer.append("b", rows(upsert(1, 2.0))) == 2
    assert keys_of(log) == ["a", "b", "c"]


def test_a_full_disk_fails_the_request_and_writes_go_on_when_there_is_room(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with LogWriter(make_log(store)) as writer:
        for moment in ("before", "after"):
            setattr(store, moment, OneTime("put_if_absent", ".arrow", full))
            with pytest.raises(DiskFull):
                writer.append(moment, rows(upsert(1, 1.0)))
        assert writer.append("after", rows(upsert(1, 1.0))) == 1
        assert writer.append("before", rows(upsert(1, 1.0))) == 2


def test_a_disk_that_fails_to_sync_ends_the_writer_and_nothing_is_acknowledged_any_more(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    num_writes = 0

    def broken(method: str, _key: str) -> None:
        nonlocal num_writes
        num_writes += method == "put_if_absent"
        if method == "put_if_absent":
            raise OSError(errno.EIO, "Input/output error")

    store.after = broken
    with LogWriter(make_log(store)) as writer:
        for key in ("a", "a", "b"):
            with pytest.raises(InternalError, match="Input/output error"):
                writer.append(key, rows(upsert(1, 1.0)))
    assert num_writes == 1


def test_a_refusal_of_the_store_or_a_damaged_log_reaches_the_caller(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    log = make_log(store)

    def refused() -> None:
        raise SettingError("403")

    with LogWriter(log) as writer:
        store.before = OneTime("put_if_absent", ".arrow", refused)
        with pytest.raises(SettingError, match="403"):
            writer.append("a", rows(upsert(1, 1.0)))
        assert writer.append("a", rows(upsert(1, 1.0))) == 1
    store.put(log.key(1), b"damaged")
    with LogWriter(log) as writer:
        for _ in range(2):
            with pytest.raises(CorruptArtifact, match=r"0001\.arrow is corrupt"):
                writer.append("b", rows(upsert(1, 1.0)))
    assert log.last() == 1


def test_a_found_key_is_confirmed_on_the_disk_before_it_is_acknowledged(tmp_path: Path) -> None:
    log = make_log(LocalStore(tmp_path))
    with LogWriter(log) as writer:
        writer.append("a", rows(upsert(1, 1.0)))
    store = WatchedStore(tmp_path)
    calls: list[tuple[str, str]] = []
    store.before = lambda method, key: calls.append((method, key.rpartition("/")[2].lstrip("0")))
    with LogWriter(make_log(store)) as later:
        assert later.append("a", rows(upsert(1, 1.0))) == 1
    assert calls[-2:] == [("put_if_absent", "1.arrow"), ("get", "floor.json")]


def test_keys_below_the_floor_are_forgotten(tmp_path: Path) -> None:
    log = make_log(LocalStore(tmp_path))
    with LogWriter(log) as writer:
        for number in range(1, 6):
            writer.append(f"k{number}", rows(upsert(number, 1.0)))
        log.drop(3)
        writer.append("k6", rows(upsert(6, 1.0)))
        assert sorted(writer._seen) == ["k4", "k5", "k6"]


@pytest.mark.parametrize("key", ["", "x" * 129, "a\nb", "a\0b"])
def test_a_request_key_that_is_none_is_refused(tmp_path: Path, key: str) -> None:
    with LogWriter(make_log(LocalStore(tmp_path))) as writer, pytest.raises(UserError, match="request key"):
        writer.append(key, rows(upsert(1, 1.0)))


def test_rows_that_may_not_enter_are_refused_at_the_door(tmp_path: Path) -> None:
    log = make_log(LocalStore(tmp_path))
    # A copy is not known to be checked.
    bad = replace(rows(upsert(1, 1.0)))
    bad.vectors[""].vectors_MD[0, 2] = float("nan")
    with LogWriter(log) as writer, pytest.raises(RowRefused, match="finite"):
        writer.append("a", bad)
    assert log.last() == 0


def test_a_request_or_a_queue_that_is_too_large_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = WatchedStore(tmp_path)
    release = threading.Event()
    store.before = OneTime("put_if_absent", "1.arrow", lambda: release.wait(10))
    size_bytes = rows(upsert(1, 1.0)).size_bytes
    monkeypatch.setattr(writer_module, "MAX_WRITE_BYTES", size_bytes)
    monkeypatch.setattr(writer_module, "MAX_WAITING_BYTES", 3 * size_bytes)
    with LogWriter(make_log(store)) as writer:
        with pytest.raises(UserError, match="send it in parts"):
            writer.submit("large", rows(upsert(1, 1.0), upsert(2, 1.0)))
        first = writer.submit("first", rows(upsert(1, 1.0)))
        time.sleep(0.1)
        others = [writer.submit(f"k{number}", rows(upsert(1, 1.0))) for number in range(3)]
        with pytest.raises(LogBusy, match=f"{3 * size_bytes} bytes wait"):
            writer.submit("more", rows(upsert(1, 1.0)))
        release.set()
        assert [one.result(10) for one in [first, *others]] == [1, 2, 2, 2]
        assert writer.append("more", rows(upsert(1, 1.0))) == 3


def test_a_closed_writer_finishes_what_it_took_and_takes_no_more(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    store.before = OneTime("put_if_absent", "1.arrow", lambda: time.sleep(0.1))
    writer = LogWriter(make_log(store))
    taken: list[Future[int]] = [writer.submit(f"k{number}", rows(upsert(number, 1.0))) for number in range(5)]
    writer.close()
    assert all(one.done() and one.result() in (1, 2) for one in taken)
    with pytest.raises(TemporaryError, match="is closed"):
        writer.submit("late", rows(upsert(1, 1.0)))


def test_a_cancelled_request_that_still_waits_is_not_written(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    log = make_log(store)
    release = threading.Event()
    store.before = OneTime("put_if_absent", "1.arrow", lambda: release.wait(10))
    with LogWriter(log) as writer:
        first = writer.submit("first", rows(upsert(1, 1.0)))
        time.sleep(0.1)
        second = writer.submit("second", rows(upsert(2, 1.0)))
        assert second.cancel()
        release.set()
        assert first.result(10) == 1
    assert keys_of(log) == ["first"]


def test_a_log_that_was_read_ahead_is_not_read_again_for_the_next_request(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    with LogWriter(make_log(LocalStore(tmp_path))) as other:
        for number in range(1, 6):
            other.append(f"k{number}", rows(upsert(number, 1.0)))
    read: list[str] = []
    store.before = lambda method, key: read.append(key) if method == "get" and key.endswith(".arrow") else None
    with LogWriter(make_log(store)) as writer:
        writer.read_ahead().result(10)
        assert set(read) == {make_log(store).key(number) for number in range(1, 7)}
        writer.read_ahead().result(10)
        num_read = len(read)
        assert writer.append("k6", rows(upsert(6, 1.0))) == 6
        assert len(read) == num_read
        assert writer.append("k3", rows(upsert(3, 1.0))) == 3
        store.before = OneTime("get", "7.arrow", lose)
        with pytest.raises(StoreUnavailable):
            writer.read_ahead().result(10)
        writer.read_ahead().result(10)
    with pytest.raises(TemporaryError, match="is closed"):
        writer.read_ahead()


def test_a_store_that_does_not_find_the_floor_it_has_gets_nothing_acknowledged_below_it(tmp_path: Path) -> None:
    quiet = make_log(LocalStore(tmp_path))
    with LogWriter(quiet) as writer:
        for number in range(1, 4):
            writer.append(f"k{number}", rows(upsert(number, 1.0)))
    quiet.drop(3)
    store, num_lies = WatchedStore(tmp_path), 0

    def lie(method: str, key: str) -> None:
        nonlocal num_lies
        if method == "get" and key.endswith("floor.json") and num_lies < 4:
            num_lies += 1
            raise ArtifactMissing("NoSuchKey")

    store.before = lie
    with LogWriter(make_log(store)) as writer:
        assert writer.append("a", rows(upsert(9, 1.0))) == 4
    assert (num_lies, keys_of(quiet, 3)) == (4, ["a"])
