"""Checkpoints reach the store whole, under their own hashes, or not at all; a store that fails is told of once and tried again."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from reelspace.core.errors import CorruptArtifact
from reelspace.core.step_state import StepState
from reelspace.core.steps import StepRun
from reelspace.core.store import Store, open_store
from reelspace.steps.stored_checkpoints import StoredCheckpoints
from reelspace.train.checkpoint_manifest import CheckpointManifest, digests, write_manifest
from tests.unit.steps.faulty_s3 import FaultyS3

KEY = "f" * 64
STATE = f"runs/{KEY}/state/"


@pytest.fixture
def faulty(s3_url: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    found = FaultyS3(s3_endpoint)
    with found.serving() as endpoint:
        monkeypatch.setenv("REELSPACE_S3_ENDPOINT", endpoint)
        yield found


class Machine:
    """One machine's try of a step: its run directory, and what stores its checkpoints."""

    def __init__(self, store: Store, work: Path) -> None:
        self.store = store
        self.state = StepState.of(store, KEY, work)
        self.state.restore()
        run = StepRun(store, "pretrain", KEY, {}, work / "scratch", self.state.directory, {}, self.state.save, self.state.save_sets)
        self.stored = StoredCheckpoints(run)

    def checkpoint(self, step: int) -> Path:
        return self.state.directory / "checkpoints" / f"step-{step:08d}"

    def save(self, step: int) -> None:
        """Let a checkpoint appear, as a training does."""
        beside = self.state.directory / "beside"
        (beside / "engine").mkdir(parents=True)
        (beside / "engine" / "rank-0.pt").write_bytes(f"state {step}".encode() * 1000)
        (beside / "log.jsonl").write_text("the same in all\n")
        files = digests(beside)
        facts = {"step": step, "data_cursor": step, "world_size": 1, "layout": "torch", "fingerprint": {}, "num_skipped": 0}
        write_manifest(beside, CheckpointManifest(files=files, **facts))  # type: ignore[arg-type]
        self.checkpoint(step).parent.mkdir(exist_ok=True)
        beside.rename(self.checkpoint(step))


def stored_steps(store: Store) -> set[int]:
    """The checkpoints that the list names; each is read from the store and must be whole."""
    listed: dict[str, str] = json.loads(store.get(STATE + "files.json")) if store.exists(STATE + "files.json") else {}
    for digest in listed.values():
        assert hashlib.sha256(store.get(STATE + digest)).hexdigest() == digest
    manifests = [path for path in listed if path.endswith("manifest.json")]
    for path in manifests:
        facts = json.loads(store.get(STATE + listed[path]))
        folder = path.removesuffix("manifest.json")
        named = {folder + name: digest for name, digest in facts["files"].items()}
        assert named == {name: digest for name, digest in listed.items() if name.startswith(folder) and name != path}
    assert len(listed) == 3 * len(manifests)
    return {int(path.split("/")[1].removeprefix("step-")) for path in manifests}


def test_whole_checkpoints_and_nothing_else_lie_in_the_store_and_on_the_next_machine(s3_url: str, tmp_path: Path):
    store = open_store(s3_url)
    first = Machine(store, tmp_path / "first")
    for step in (2, 4):
        first.save(step)
    (first.state.directory / "machine-0").mkdir()
    (first.state.directory / "machine-0" / "process-0.json").write_text('{"pid": 1}')
    first.checkpoint(6).mkdir()
    (first.checkpoint(6) / "engine.pt").write_text("no manifest")
    assert first.stored.store() == ""
    assert stored_steps(store) == {2, 4}
    second = Machine(store, tmp_path / "second")
    files = {path.relative_to(second.state.directory).as_posix() for path in second.state.directory.rglob("*") if path.is_file()}
    assert files == {
        f"checkpoints/step-0000000{step}/{name}" for step in (2, 4) for name in ("manifest.json", "log.jsonl", "engine/rank-0.pt")
    }
    assert second.checkpoint(4).joinpath("engine/rank-0.pt").read_bytes() == first.checkpoint(4).joinpath("engine/rank-0.pt").read_bytes()


def test_what_is_stored_is_not_sent_again_and_what_is_dropped_goes_from_the_store(faulty: FaultyS3, s3_url: str, tmp_path: Path):
    store = open_store(s3_url)
    machine = Machine(store, tmp_path)
    machine.save(2)
    machine.stored.store()
    machine.save(4)
    shutil.rmtree(machine.checkpoint(2))
    faulty.requests.clear()
    machine.stored.store()
    # Two files of the new checkpoint, for the log of both is one, and the list.
    assert sum(method == "PUT" for method, _ in faulty.requests) == 3
    assert stored_steps(store) == {4}
    assert len(list(store.list(STATE))) == 4


@pytest.mark.parametrize("how", ["403", "503", "reset"])
def test_a_store_that_fails_is_told_of_once_keeps_what_it_has_and_is_tried_again(
    faulty: FaultyS3, s3_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], how: str
):
    store = open_store(s3_url)
    machine = Machine(store, tmp_path)
    machine.save(2)
    assert machine.stored.store() == ""
    faulty.refuse_writes(how)
    for step in (4, 6):
        machine.save(step)
        assert machine.stored.store() != ""
    assert stored_steps(store) == {2}
    assert capfd.readouterr().err.count('"checkpoint_not_stored"') == 1
    faulty.work()
    machine.save(8)
    assert machine.stored.store() == ""
    assert stored_steps(store) == {2, 4, 6, 8}


@pytest.mark.parametrize("num_sent", [0, 1, 2, 3, 4])
def test_a_save_cut_short_anywhere_leaves_the_list_as_it_was_and_the_next_sends_only_what_is_missing(
    faulty: FaultyS3, s3_url: str, tmp_path: Path, num_sent: int
):
    store = open_store(s3_url)
    machine = Machine(store, tmp_path)
    machine.save(2)
    machine.save(4)
    writes: list[str] = []

    def fault(method: str, path: str) -> str | None:
        if method == "PUT" and "/state/" in path:
            writes.append(path)
        return "403" if len(writes) > num_sent and method == "PUT" else None

    faulty.fault = fault
    assert machine.stored.store() != ""
    assert not store.exists(STATE + "files.json")
    faulty.work()
    faulty.requests.clear()
    assert machine.stored.store() == ""
    assert sum(method == "PUT" for method, _ in faulty.requests) == 6 - num_sent
    assert stored_steps(store) == {2, 4}


def test_old_files_that_may_not_be_deleted_do_not_keep_new_checkpoints_from_being_stored(
    faulty: FaultyS3, s3_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    store = open_store(s3_url)
    machine = Machine(store, tmp_path)
    machine.save(2)
    machine.stored.store()
    faulty.fault = lambda method, _path: "403" if method == "DELETE" else None
    machine.save(4)
    shutil.rmtree(machine.checkpoint(2))
    assert machine.stored.store() == ""
    assert stored_steps(store) == {4}
    assert '"state_not_dropped"' in capfd.readouterr().err


def test_a_checkpoint_whose_bytes_are_not_those_of_its_manifest_is_left_out_and_named(
    s3_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    store = open_store(s3_url)
    machine = Machine(store, tmp_path)
    machine.save(2)
    machine.save(4)
    path = machine.checkpoint(4) / "engine" / "rank-0.pt"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert machine.stored.store() == ""
    assert stored_steps(store) == {2}
    told = capfd.readouterr().err
    assert '"checkpoint_left_out", "checkpoint": "step-00000004"' in told
    assert "rank-0.pt is corrupt" in told
    # Nothing lies under a hash that is not its own.
    assert all(hashlib.sha256(store.get(key)).hexdigest() == key.removeprefix(STATE) for key in store.list(STATE) if "files" not in key)


def test_a_stored_file_that_was_damaged_in_the_store_is_refused_when_it_is_fetched(s3_url: str, tmp_path: Path):
    store = open_store(s3_url)
    machine = Machine(store, tmp_path / "first")
    machine.save(2)
    machine.stored.store()
    key = next(key for key in store.list(STATE) if store.get(key).startswith(b"state 2"))
    store.put(key, b"state 3" * 1000)
    with pytest.raises(CorruptArtifact, match=r"rank-0\.pt' of run f+ in s3://.* is corrupt"):
        Machine(store, tmp_path / "second")


def test_in_a_directory_store_the_run_directory_is_the_place_and_nothing_is_copied(tmp_path: Path):
    store = open_store(str(tmp_path / "store"))
    machine = Machine(store, tmp_path / "work")
    machine.save(2)
    before = sorted(store.list(""))
    assert machine.stored.store() == ""
    assert sorted(store.list("")) == before
    assert machine.checkpoint(2) == tmp_path / "store" / "runs" / KEY / "state" / "checkpoints" / "step-00000002"
