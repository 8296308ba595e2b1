"""The mark at which a log ends, and the one behind which clients write to a log that others have filled."""

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from reelspace.core.errors import CorruptArtifact, StoreUnavailable
from reelspace.core.local_store import LocalStore
from reelspace.core.store import Store
from reelspace.search.storage.entries import Entry, Write, decode, encode, encode_mark, seal, unseal
from reelspace.search.storage.log import Log, truncate
from reelspace.search.storage.log_end import end_log
from reelspace.search.storage.marks import Mark
from reelspace.search.storage.reader import read_from
from reelspace.search.storage.writer import LogMoved, LogWriter, RequestKeyReused

from .builders import FIELDS, OneTime, WatchedStore, expected, keys_of, lose, make_log, points_of, rows, upsert

KEY = "collections/videos/shards/0/log/00000000000000000007.arrow"
HOUR_US = 3_600_000_000
NEW = "videos@44556677"


def test_a_mark_is_read_back_and_is_no_write() -> None:
    for kind in ("moved_to", "moved_from"):
        mark = Mark(kind, NEW, 5)  # type: ignore[arg-type]
        assert decode(KEY, 7, FIELDS, encode_mark(KEY, FIELDS, mark)) == Entry(7, (), mark)


def with_metadata(data: bytes, **metadata: str) -> bytes:
    with pa.ipc.open_stream(unseal(KEY, data)) as reader:
        more = {f"reelspace.{key}".encode(): one.encode() for key, one in metadata.items()}
        schema = reader.schema.with_metadata(reader.schema.metadata | more)
        batches = list(reader)
    sink: Any = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        for batch in batches:
            stream.write_batch(batch)
    return seal(KEY, sink.getvalue().to_pybytes())


@pytest.mark.parametrize("mark", ["moved_to", "moved_to a b", "moved_over a 5", "", "moved_to a 5 6"])
def test_a_mark_that_this_version_does_not_know_is_refused_by_name(mark: str) -> None:
    whole = encode_mark(KEY, FIELDS, Mark("moved_to", NEW, 5))
    with pytest.raises(CorruptArtifact, match=KEY):
        decode(KEY, 7, FIELDS, with_metadata(whole, mark=mark))


def test_a_mark_beside_writes_is_refused() -> None:
    data = encode(KEY, FIELDS, [Write("k", 5, rows(upsert(1, 1.0)))])
    with pytest.raises(CorruptArtifact, match="a mark and writes"):
        decode(KEY, 7, FIELDS, with_metadata(data, mark=f"moved_to {NEW} 5"))


def test_what_does_not_know_marks_refuses_them() -> None:
    """As every version before marks reads an object."""
    with pa.ipc.open_stream(unseal(KEY, encode_mark(KEY, FIELDS, Mark("moved_to", NEW, 5)))) as reader:
        assert list(reader) == []


def ended(log: Log) -> int:
    return end_log(log, NEW, 0, HOUR_US)


def test_a_log_ends_once_and_what_is_in_it_is_acknowledged_still(store: Store) -> None:
    log = make_log(store)
    with LogWriter(log) as early:
        assert early.append("a", rows(upsert(1, 1.0))) == 1
        assert [ended(log), ended(log), end_log(log, NEW, 1, HOUR_US)] == [2, 2, 2]
        with LogWriter(log) as late:
            for writer in (early, late):
                assert writer.append("a", rows(upsert(1, 1.0))) == 1
                with pytest.raises(RequestKeyReused):
                    writer.append("a", rows(upsert(1, 2.0)))
                with pytest.raises(LogMoved, match=NEW) as caught:
                    writer.append("b", rows(upsert(2, 2.0)))
                assert caught.value.to == NEW
    assert log.last() == 2
    assert points_of(log) == expected({1: 1.0})


def test_of_requests_that_wait_for_one_object_those_in_the_log_are_acknowledged_and_the_others_refused(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    log, quiet = make_log(store), make_log(LocalStore(tmp_path))
    with LogWriter(quiet) as other:
        other.append("known", rows(upsert(1, 1.0)))
    with LogWriter(log) as writer:
        store.before = OneTime("put_if_absent", "2.arrow", lambda: ended(quiet))
        futures = [writer.submit(key, rows(upsert(1, 1.0))) for key in ("known", "new", "known", "newer")]
        assert [futures[0].result(10), futures[2].result(10)] == [1, 1]
        for one in (futures[1], futures[3]):
            with pytest.raises(LogMoved):
                one.result(10)


def test_a_mark_whose_answer_was_lost_is_found(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    store.after = OneTime("put_if_absent", "1.arrow", lose)
    with pytest.raises(StoreUnavailable):
        ended(make_log(store))
    assert ended(make_log(store)) == 1


def test_the_mark_at_the_end_is_never_dropped_and_one_amid_a_log_like_any_object(store: Store) -> None:
    log = make_log(store)
    log.append(1, [Write("a", HOUR_US, rows(upsert(1, 1.0)))])
    log.append_mark(2, Mark("moved_from", NEW, HOUR_US + 1))
    log.append(3, [Write("b", HOUR_US + 2, rows(upsert(2, 2.0)))])
    assert ended(log) == 4
    assert [truncate(log, number) for number in (2, 4, 4)] == [2, 3, 3]
    with LogWriter(log) as writer, pytest.raises(LogMoved):
        writer.append("c", rows(upsert(3, 3.0)))


@pytest.mark.parametrize("num_rounds", [5, pytest.param(300, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_threads_that_write_while_a_log_ends_are_each_acknowledged_before_it_or_refused(tmp_path: Path, num_rounds: int) -> None:
    for number in range(num_rounds):
        log = make_log(LocalStore(tmp_path / str(number)))
        acknowledged: dict[str, int] = {}
        refused: set[str] = set()

        def write(name: str, log: Log = log, acknowledged: dict[str, int] = acknowledged, refused: set[str] = refused) -> None:
            with LogWriter(log) as writer:
                for turn in range(10_000):
                    key = f"{name}-{turn}"
                    try:
                        acknowledged[key] = writer.append(key, rows(upsert(turn, 1.0)))
                    except LogMoved:
                        refused.add(key)
                        return

        threads = [threading.Thread(target=write, args=(f"t{thread}",)) for thread in range(4)]
        for thread in threads:
            thread.start()
        while len(acknowledged) < 20:
            pass
        last = ended(log)
        for thread in threads:
            thread.join()
        assert {len(refused), log.last() - last} == {4, 0}
        assert sorted(keys_of(log)) == sorted(acknowledged)
        assert all(number < last for number in acknowledged.values())
        assert [entry.mark is not None for entry in read_from(log, 0)] == [False] * (last - 1) + [True]
