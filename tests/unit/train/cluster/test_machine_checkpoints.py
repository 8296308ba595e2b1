"""Each machine brings its own files of a checkpoint; the store lists it only when those of all are there."""

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from torch import Tensor

from reelspace.core.errors import TemporaryError
from reelspace.core.store import Store, open_store
from reelspace.train.checkpoint_manifest import CheckpointManifest, digests, write_manifest
from reelspace.train.checkpoints import Checkpoints
from reelspace.train.cluster.machine_checkpoints import MachineCheckpoints
from reelspace.train.cluster.training_files import TrainingFiles
from reelspace.train.group import Group

KEY = "b" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def machine(store: Store, root: Path, number: int) -> MachineCheckpoints:
    return MachineCheckpoints(TrainingFiles(store, KEY), root / f"machine-{number}", number)


def save(machines: list[MachineCheckpoints], step: int, first: str = "state {step} of 0") -> None:
    """Let a checkpoint appear on all machines, each with a file of its own and the manifest of all."""
    folders = [one.run / "checkpoints" / f"step-{step:08d}" for one in machines]
    files: dict[str, str] = {}
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        (folder / f"rank-{number}.pt").write_text(f"state {step} of {number}" if number else first.format(step=step))
        files |= digests(folder)
    facts = {"step": step, "data_cursor": step, "world_size": len(machines), "layout": "torch", "fingerprint": {}, "num_skipped": 0}
    for folder in folders:
        write_manifest(folder, CheckpointManifest(files=files, **facts))  # type: ignore[arg-type]


def drop(machines: list[MachineCheckpoints], step: int) -> None:
    for one in machines:
        folder = one.run / "checkpoints" / f"step-{step:08d}"
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def texts(one: MachineCheckpoints, step: int) -> dict[str, str]:
    folder = one.run / "checkpoints" / f"step-{step:08d}"
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != "manifest.json"} if folder.is_dir() else {}


def test_a_checkpoint_is_listed_once_every_machine_has_brought_its_files(store: Store, tmp_path: Path):
    first, second = pair = [machine(store, tmp_path, number) for number in range(2)]
    save(pair, 2)
    assert "step-00000002" in first.store()
    assert first.files.checkpoints() == {}
    second.store()
    assert first.files.checkpoints() == {}
    assert first.store() == ""
    assert set(first.files.checkpoints()["step-00000002"]) == {"rank-0.pt", "rank-1.pt", "manifest.json"}


def test_new_machines_hold_the_newest_checkpoint_whole_and_earlier_ones_by_their_manifests_and_keep_both_listed(
    store: Store, tmp_path: Path
):
    pair = [machine(store, tmp_path, number) for number in range(2)]
    for step in (2, 4):
        save(pair, step)
        pair[1].store()
        assert pair[0].store() == ""
    new = [machine(store, tmp_path / "new", number) for number in range(2)]
    for one in new:
        one.restore()
        assert texts(one, 4) == {"rank-0.pt": "state 4 of 0", "rank-1.pt": "state 4 of 1"}
        assert texts(one, 2) == {}
    save(new, 6)
    new[1].store()
    assert new[0].store() == ""
    assert sorted(new[0].files.checkpoints()) == ["step-00000002", "step-00000004", "step-00000006"]


def test_what_the_training_drops_goes_from_the_store_and_nothing_else_does(store: Store, tmp_path: Path):
    pair = [machine(store, tmp_path, number) for number in range(2)]
    for step in (2, 4):
        save(pair, step)
        pair[1].store()
        pair[0].store()
    # Its files are brought, and not yet listed, when an earlier one is dropped.
    save(pair, 6)
    pair[1].store()
    drop(pair, 2)
    pair[0].store()
    left = {store.get(key).decode()[:9] for key in store.list(f"runs/{KEY}/state/training/blobs/") if b"state" in store.get(key)[:5]}
    assert left == {"state 4 o", "state 6 o"}
    assert sorted(pair[0].files.checkpoints()) == ["step-00000004", "step-00000006"]


def test_a_file_that_a_checkpoint_on_its_way_shares_with_a_dropped_one_stays_in_the_store(store: Store, tmp_path: Path):
    pair = [machine(store, tmp_path, number) for number in range(2)]
    save(pair, 2, "the same in both")
    pair[1].store()
    pair[0].store()
    save(pair, 4, "the same in both")
    drop(pair, 2)
    assert "step-00000004" in pair[0].store()
    pair[1].store()
    assert pair[0].store() == ""
    new = machine(store, tmp_path / "new", 0)
    new.restore()
    assert texts(new, 4) == {"rank-0.pt": "the same in both", "rank-1.pt": "state 4 of 1"}


def test_a_checkpoint_damaged_in_the_store_is_passed_over_for_the_one_before(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    pair = [machine(store, tmp_path, number) for number in range(2)]
    for step in (2, 4):
        save(pair, step)
        pair[1].store()
        pair[0].store()
    digest = pair[0].files.checkpoints()["step-00000004"]["rank-1.pt"]
    store.put(pair[0].files.blob(digest), b"other bytes")
    new = machine(store, tmp_path / "new", 0)
    new.restore()
    assert texts(new, 2) == {"rank-0.pt": "state 2 of 0", "rank-1.pt": "state 2 of 1"}
    assert texts(new, 4) == {}
    assert '"checkpoint_passed_over", "checkpoint": "step-00000004"' in capsys.readouterr().err


def test_the_last_checkpoint_waits_for_the_files_of_a_slow_machine_and_not_for_a_lost_one(store: Store, tmp_path: Path):
    first, second = pair = [machine(store, tmp_path, number) for number in range(2)]
    save(pair, 2)
    slow = threading.Timer(0.3, second.store)
    slow.start()
    assert first.store_last(limit_s=20.0) == ""
    slow.join()
    save(pair, 4)
    assert first.store_last(limit_s=0.0) == "other machines have not brought their files of step-00000004"
    assert sorted(first.files.checkpoints()) == ["step-00000002"]


def test_checkpoints_that_appear_while_the_training_runs_are_stored(store: Store, tmp_path: Path):
    only = machine(store, tmp_path, 0)
    with only.followed():
        save([only], 2)
        deadline = threading.Event()
        for _ in range(100):
            if only.files.checkpoints():
                break
            deadline.wait(0.1)
    assert sorted(only.files.checkpoints()) == ["step-00000002"]


@dataclass
class Meeting:
    """Where the threads of a test meet that stand for processes."""

    size: int
    values: dict[int, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.size, timeout=30)

    def exchange(self, rank: int, value: object) -> list[object]:
        self.values[rank] = value
        self.barrier.wait()
        found = [self.values[other] for other in range(self.size)]
        self.barrier.wait()
        return found


class Process(Group):
    """A process whose messages go through a Meeting."""

    def from_all(self, value):  # type: ignore[no-untyped-def]
        return _MEETING[self.world_size].exchange(self.rank, value)

    def from_first(self, value):  # type: ignore[no-untyped-def]
        return self.from_all(value)[0]

    def barrier(self) -> None:
        self.from_all(None)


_MEETING: dict[int, Meeting] = {}


@dataclass
class Parts:
    """An engine of which every process writes a file of its own."""

    rank: int
    layout: str = "parts"

    def refusal(self, layout: str) -> str | None:
        return None if layout == self.layout else "other"

    def save(self, directory: Path) -> None:
        (directory / f"rank-{self.rank}.bin").write_text(f"part {self.rank}")

    def weights(self) -> dict[str, Tensor]:
        return {}


def on_two_machines(root: Path, work: object, num_processes: int = 4) -> list[object]:
    """Run `work(rank, checkpoints, engine)` in threads that stand for two processes on each of two machines; gives what they gave."""
    _MEETING[num_processes] = Meeting(num_processes)
    found: list[object] = [None] * num_processes

    def run(rank: int) -> None:
        disk = root / f"disk-{rank // 2}"
        checkpoints = Checkpoints(disk / "checkpoints", disk / "unfinished", Process(rank, num_processes, is_first_here=rank % 2 == 0))
        try:
            found[rank] = work(rank, checkpoints, Parts(rank))  # type: ignore[operator]
        except TemporaryError as error:
            found[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(num_processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_every_machine_keeps_its_files_under_one_manifest_and_goes_on_only_from_a_checkpoint_it_has_whole(tmp_path: Path):
    log = tmp_path / "train_log.jsonl"
    log.write_text('{"step": 2, "loss": 0.5}\n')

    def save_one(_rank: int, checkpoints: Checkpoints, engine: Parts) -> None:
        checkpoints.save(engine, 2, log)  # type: ignore[arg-type]

    def resume(_rank: int, checkpoints: Checkpoints, engine: Parts) -> object:
        found = checkpoints.newest(engine)  # type: ignore[arg-type]
        return found and found.facts.step

    on_two_machines(tmp_path, save_one)
    disks = [tmp_path / f"disk-{number}" / "checkpoints" / "step-00000002" for number in range(2)]
    own = [{path.name for path in disk.iterdir()} for disk in disks]
    assert own == [{"rank-0.bin", "rank-1.bin", log.name, "manifest.json"}, {"rank-2.bin", "rank-3.bin", "manifest.json"}]
    manifests = [(disk / "manifest.json").read_text() for disk in disks]
    assert manifests[0] == manifests[1]
    assert set(json.loads(manifests[0])["files"]) == {log.name, *(f"rank-{rank}.bin" for rank in range(4))}
    assert json.loads(manifests[0])["loss"] == 0.5
    for name in ("rank-2.bin", "rank-3.bin"):
        (disks[0] / name).write_bytes((disks[1] / name).read_bytes())
    # The first machine has it all, the second its own files only.
    found = on_two_machines(tmp_path, resume)
    assert [type(one) for one in found] == [int, int, TemporaryError, int]
    for name in ("rank-0.bin", "rank-1.bin", log.name):
        (disks[1] / name).write_bytes((disks[0] / name).read_bytes())
    assert on_two_machines(tmp_path, resume) == [2, 2, 2, 2]
