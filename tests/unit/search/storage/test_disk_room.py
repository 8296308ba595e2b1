"""Room on a store's disk: what counts as little, how often it is looked at, and what is refused then."""

import os
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from reelspace import search
from reelspace.core.errors import DiskFull
from reelspace.core.local_store import LocalStore
from reelspace.search.access.log_writers import LogWriters
from reelspace.search.scheduling.create import create_collection
from reelspace.search.storage.disk_room import DiskRoom
from reelspace.search.storage.layout import Collection, VectorSettings
from reelspace.search.storage.rows import Change, Op

GIB = 1 << 30
MADE = Collection(name="things", space_id="0" * 16, vectors={"": VectorSettings(dimension=2, metric="euclid")}, num_shards=1)
BLOCK_BYTES = 4096


class Disk:
    """What statvfs tells, and how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, size_bytes: int, free_bytes: int) -> None:
        self.size_bytes, self.free_bytes, self.num_looks = size_bytes, free_bytes, 0
        monkeypatch.setattr(os, "statvfs", self._told)

    def _told(self, _path: object) -> SimpleNamespace:
        self.num_looks += 1
        size, free = self.size_bytes // BLOCK_BYTES, self.free_bytes // BLOCK_BYTES
        return SimpleNamespace(f_blocks=size, f_bavail=free, f_bfree=free, f_frsize=BLOCK_BYTES)


@pytest.mark.parametrize(
    ("size_bytes", "free_bytes", "has_room"),
    [
        (16 << 20, 3 << 20, True),
        (16 << 20, 2 << 20, False),
        (2000 * GIB, 20 * GIB, True),
        (2000 * GIB, GIB, True),
        (2000 * GIB, GIB - BLOCK_BYTES, False),
        (0, 0, True),
    ],
)
def test_little_room_is_less_than_15_percent_and_less_than_1_gib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_bytes: int, free_bytes: int, has_room: bool
) -> None:
    room = DiskRoom(LocalStore(tmp_path))
    Disk(monkeypatch, size_bytes, free_bytes)
    if has_room:
        room.check()
        return
    with pytest.raises(DiskFull, match=f"the disk of {tmp_path} is nearly full: {free_bytes:,} of {size_bytes:,} bytes are free"):
        room.check()


def test_the_disk_is_looked_at_once_a_second_however_many_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    room, disk = DiskRoom(LocalStore(tmp_path), lambda: now_s), Disk(monkeypatch, 16 << 20, 0)
    for _ in range(100):
        with pytest.raises(DiskFull):
            room.check()
    assert disk.num_looks == 1
    disk.free_bytes = 8 << 20
    now_s += 1.0
    room.check()
    disk.free_bytes = 0
    room.check()
    assert disk.num_looks == 2


def test_a_store_that_is_no_directory_or_a_directory_that_is_gone_is_left_to_the_write(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    os.rename(tmp_path / "store", tmp_path / "away")
    DiskRoom(store).check()


def test_with_little_room_deletions_alone_enter_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    create_collection(store, MADE)
    with closing(LogWriters(store, MADE)) as writers:
        disk = Disk(monkeypatch, 16 << 20, 1 << 20)
        upsert = Change(Op.UPSERT, 1, {"": np.ones(2, dtype=np.float32)}, {})
        for change in (upsert, Change(Op.MERGE_PAYLOAD, 1, payload={"a": 1}), Change(Op.DROP_PAYLOAD, 1, payload=("a",))):
            with pytest.raises(DiskFull, match="more rows need 15% or 1 GiB"):
                writers.submit("a", [Change(Op.DELETE, 2), change])
        assert writers.submit("a", [Change(Op.DELETE, 1)])[0].result(10) == 1
        assert disk.num_looks == 1


def test_the_engine_in_a_process_refuses_rows_and_goes_on_deleting_and_searching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with search.open(str(tmp_path)) as database:
        things = database.create_collection("things", 2)
        Disk(monkeypatch, 16 << 20, 1 << 20)
        with pytest.raises(DiskFull, match="is nearly full"):
            things.upsert([1], [[1.0, 0.0]])
        things.delete([1])
        assert things.search([1.0, 0.0]) == []
