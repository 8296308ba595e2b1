import os
import stat
import threading
from pathlib import Path

import pytest

from reelspace.core.errors import CorruptArtifact, PreconditionFailed
from reelspace.core.local_store import LocalStore
from reelspace.core.store import Store
from reelspace.search.storage.entries import Write
from reelspace.search.storage.floor import raise_floor, read_floor
from reelspace.search.storage.log import Log, truncate

from .builders import COLLECTION, damaged, make_log, rows, upsert

HOUR_US = 3_600_000_000


def fill(log: Log, *minutes: float) -> None:
    """Write one object per time, given in minutes after an hour."""
    for number, minute in enumerate(minutes, start=1):
        log.append(number, [Write(f"k{number}", HOUR_US + int(minute * 60e6), rows(upsert(number, 1.0)))])


def numbers(log: Log) -> list[int]:
    return [number for number in range(1, 100) if log.store.exists(log.key(number))]


def test_an_object_is_created_once_and_read_back(store: Store) -> None:
    log = make_log(store, shard=3)
    assert (log.read(1), log.last(), log.floor()) == (None, 0, 0)
    fill(log, 0, 1)
    with pytest.raises(PreconditionFailed):
        log.append(2, [Write("other", 0, rows(upsert(9, 9.0)))])
    entry = log.read(2)
    assert entry is not None
    assert (entry.number, entry.writes[0].request_key, entry.writes[0].rows.ids) == (2, "k2", (2,))
    assert log.last() == 2
    assert list(store.list("")) == [f"collections/{COLLECTION}/shards/3/log/{number:020d}.arrow" for number in (1, 2)]


def test_the_log_of_one_shard_is_not_that_of_another(store: Store) -> None:
    fill(make_log(store, shard=1), 0, 1, 2)
    fill(make_log(store, shard=11), 0)
    assert [make_log(store, shard).last() for shard in (1, 11, 2)] == [3, 1, 0]


def test_the_floor_rises_and_never_falls(store: Store) -> None:
    assert [raise_floor(store, "floor.json", wanted) for wanted in (0, 4, 2, 9, 9)] == [0, 4, 4, 9, 9]
    assert read_floor(store, "floor.json") == 9


def test_the_highest_of_floors_raised_at_once_stays(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    threads = [threading.Thread(target=raise_floor, args=(store, "floor.json", wanted)) for wanted in (3, 8, 5, 9, 1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_floor(store, "floor.json") == 9


def test_every_damage_of_the_floor_is_refused_by_name(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    raise_floor(store, "log/floor.json", 40)
    for data in damaged(store.get("log/floor.json")):
        (tmp_path / "log/floor.json").write_bytes(data)
        with pytest.raises(CorruptArtifact, match=r"log/floor\.json"):
            read_floor(store, "log/floor.json")
    raise_floor(store, "other/floor.json", 99)
    store.put("log/floor.json", store.get("other/floor.json"))
    with pytest.raises(CorruptArtifact, match="SHA-256 differs"):
        read_floor(store, "log/floor.json")


def test_dropping_raises_the_floor_first_and_finishes_what_a_killed_drop_left(tmp_path: Path) -> None:
    class KilledStore(LocalStore):
        def delete(self, key: str) -> None:
            assert read_floor(self, make_log(self).floor_key) == 3
            raise KeyboardInterrupt

    log = make_log(LocalStore(tmp_path))
    fill(log, 0, 1, 2, 3)
    with pytest.raises(KeyboardInterrupt):
        make_log(KilledStore(tmp_path)).drop(3)
    assert (log.floor(), numbers(log)) == (3, [1, 2, 3, 4])
    assert log.drop(2) == 3
    assert (log.floor(), numbers(log)) == (3, [4])


def test_truncation_keeps_what_comes_behind_a_number_and_never_brings_back(store: Store) -> None:
    log = make_log(store)
    fill(log, 0, 1, 2, 3, 4)
    assert truncate(log, 0) == 0
    assert truncate(log, 3) == 3
    assert numbers(log) == [4, 5]
    assert truncate(log, 2) == 3
    assert numbers(log) == [4, 5]


def test_truncation_removes_what_a_killed_one_has_left(store: Store) -> None:
    log = make_log(store)
    fill(log, 0, 1, 2)
    raise_floor(store, log.floor_key, 2)
    assert truncate(log, 0) == 2
    assert numbers(log) == [3]


def test_an_object_met_by_another_writer_is_on_the_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    log = make_log(store)
    fill(log, 0)
    synced: list[Path] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    log.confirm(1)
    assert (tmp_path / log.key(1)).parent in synced
    synced.clear()
    log.confirm(2)
    assert log.read(2) is None
    with pytest.raises(PreconditionFailed):
        fill(log, 0)
    assert (tmp_path / log.key(1)).parent in synced
