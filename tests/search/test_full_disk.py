"""A gateway on a disk that fills up, a tmpfs of 16 MB: rows are refused early, a full disk breaks nothing, and room is used again."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import pytest
from qdrant_client import grpc as messages

from reelspace.core.errors import DiskFull, ReelspaceError, as_reelspace_error
from reelspace.core.local_store import LocalStore
from reelspace.search.scheduling.rebuild import rebuild_shard
from reelspace.search.storage.layout import Collection, read_collection
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import read_or_default
from reelspace.search.tools.verification import verify_store

from .doomed import IVF, row_of
from .local_gateways import LocalGateway, local_gateway

DISK_BYTES, PAGE_BYTES = 16 << 20, 4096
FIRST_IDS = range(300)
PATIENCE_S = 20.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", place], check=False).returncode:
        pytest.skip("needs root, and the right to mount a tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def free_bytes(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def leave_free(disk: Path, num_bytes: int) -> None:
    """Let a file of no use take all but so much."""
    filler = disk / "filler"
    with filler.open("ab") as file:
        size = file.tell() + free_bytes(disk) - num_bytes
        file.truncate(min(file.tell(), max(0, size)))
        if size > file.tell():
            os.posix_fallocate(file.fileno(), 0, size)


def until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, "in vain"
        time.sleep(0.05)


@dataclass
class Rows:
    """Writes of one client, and the turn of every row that was acknowledged."""

    gateway: LocalGateway
    turns: dict[int, int] = field(default_factory=dict)
    unsure: dict[int, set[int | None]] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        return httpx.request(method, f"{self.gateway.url}/collections{path}", json=body, timeout=PATIENCE_S)

    def upsert(self, ids: range, turn: int) -> httpx.Response:
        points = [{"id": id, "vector": row_of(id, turn)[0].tolist(), "payload": row_of(id, turn)[1]} for id in ids]
        answer = self.ask("PUT", "/things/points?wait=true", {"points": points})
        self._heard(answer, dict.fromkeys(ids, turn))
        return answer

    def delete(self, ids: range) -> httpx.Response:
        answer = self.ask("POST", "/things/points/delete?wait=true", {"points": list(ids)})
        self._heard(answer, dict.fromkeys(ids))
        return answer

    def upsert_by_grpc(self, id: int, turn: int) -> grpc.StatusCode:
        vectors = messages.Vectors(vector=messages.Vector(data=row_of(id, turn)[0].tolist()))
        point = messages.PointStruct(id=messages.PointId(num=id), vectors=vectors)
        request = messages.UpsertPoints(collection_name="things", wait=True, points=[point])
        with closing(grpc.insecure_channel(self.gateway.grpc)) as channel:
            upsert = channel.unary_unary(
                "/qdrant.Points/Upsert", type(request).SerializeToString, messages.PointsOperationResponse.FromString
            )
            with pytest.raises(grpc.RpcError) as refused:
                upsert(request, timeout=PATIENCE_S)
        assert "the disk" in refused.value.details()
        return refused.value.code()

    def check(self) -> None:
        """Compare every row, and search for some."""
        page = self.ask("POST", "/things/points/scroll", {"limit": 1000, "with_payload": True}).json()["result"]["points"]
        found = {point["id"]: point["payload"]["turn"] for point in page}
        for id in {*found, *self.turns, *self.unsure}:
            assert found.get(id) in {self.turns.get(id), *self.unsure.get(id, set())}, id
        for id in sorted(found)[::25]:
            body = {"query": row_of(id, found[id])[0].tolist(), "limit": 1}
            assert self.ask("POST", "/things/points/query", body).json()["result"]["points"][0]["id"] == id

    def _heard(self, answer: httpx.Response, turns: dict[int, int | None]) -> None:
        assert answer.status_code in (200, 507), answer.text
        for id, turn in turns.items():
            if answer.status_code != 200:
                self.unsure.setdefault(id, set()).add(turn)
                continue
            self.unsure.pop(id, None)
            self.turns.pop(id, None)
            if turn is not None:
                self.turns[id] = turn


@pytest.fixture
def rows(disk: Path, tmp_path: Path) -> Iterator[Rows]:
    """Some rows behind a gateway on the small disk."""
    with local_gateway(str(disk / "store"), tmp_path / "log", "--grpc-port", "0") as gateway:
        rows = Rows(gateway)
        assert rows.ask("PUT", "/things", {"vectors": {"size": 8, "distance": "Euclid"}, "shard_number": 2}).status_code == 200
        assert rows.upsert(FIRST_IDS, 1).status_code == 200
        yield rows
        assert gateway.process.poll() is None


def failure_of_build(store: LocalStore, made: Collection, shard: int, scratch: Path) -> ReelspaceError | None:
    try:
        rebuild_shard(store, made, shard, IVF, scratch)
    except (ReelspaceError, OSError) as error:
        return as_reelspace_error(error)
    return None


def check_store(disk: Path) -> None:
    assert verify_store(LocalStore(disk / "store")).damages == []


def test_what_adds_to_a_nearly_full_disk_is_refused_naming_it_and_all_else_goes_on(disk: Path, rows: Rows) -> None:
    leave_free(disk, DISK_BYTES * 20 // 100)
    time.sleep(1.1)  # the disk is looked at once a second
    assert rows.upsert(range(300, 310), 1).status_code == 200
    leave_free(disk, DISK_BYTES * 14 // 100)
    until(lambda: rows.upsert(range(310, 311), 1).status_code == 507)
    refused = rows.upsert(range(300, 310), 2)
    assert f"the disk of {disk / 'store'} is nearly full" in refused.json()["status"]["error"]
    assert (refused.json()["result"], "Retry-After" in refused.headers) == (None, False)
    assert rows.ask("POST", "/things/points/payload?wait=true", {"payload": {"a": 1}, "points": [1]}).status_code == 507
    assert rows.upsert_by_grpc(400, 1) == grpc.StatusCode.RESOURCE_EXHAUSTED
    rows.check()
    assert rows.delete(range(100)).status_code == 200
    rows.check()
    assert rows.ask("PUT", "/other", {"vectors": {"size": 8, "distance": "Euclid"}}).status_code == 200
    assert rows.ask("DELETE", "/other").json()["result"] is True
    assert rows.gateway.get("/readyz").status_code == 200
    (disk / "filler").unlink()
    until(lambda: rows.upsert(range(300, 310), 3).status_code == 200)
    rows.check()
    check_store(disk)


def test_a_disk_that_is_full_at_any_write_breaks_nothing_and_is_written_to_again(disk: Path, rows: Rows, tmp_path: Path) -> None:
    store = LocalStore(disk / "store")
    things = read_collection(store, read_or_default(store, Names, NAMES_KEY).collections["things"])
    num_full = 0
    for turn, num_pages in enumerate([0, 1, 2, 4, 8, 32]):
        until(lambda: rows.upsert(FIRST_IDS, 2).status_code == 200)  # it was looked at a moment ago: what comes now finds out by writing
        leave_free(disk, num_pages * PAGE_BYTES)
        answers = [rows.upsert(range(500, 600), turn), rows.delete(range(200 + turn, 205 + turn))]
        answers.append(rows.ask("PUT", f"/other-{turn}", {"vectors": {"size": 8, "distance": "Euclid"}}))
        assert {one.status_code for one in answers} <= {200, 507}, [one.text for one in answers]
        assert all("the disk" in one.text for one in answers if one.status_code == 507)
        num_full += sum("the disk is full" in one.text for one in answers)
        assert isinstance(failure_of_build(store, things, turn % 2, tmp_path), DiskFull | None)
        rows.check()
        check_store(disk)
        (disk / "filler").unlink()
    assert num_full > 3
    until(lambda: rows.upsert(FIRST_IDS, 4).status_code == 200)
    rebuild_shard(store, things, 0, IVF, tmp_path)
    rows.check()
    check_store(disk)
