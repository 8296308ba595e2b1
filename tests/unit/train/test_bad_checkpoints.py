"""What may lie in a run directory instead of a good checkpoint: each ends as the message says, and nothing in it is run."""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from reelspace.core.artifacts import open_artifact
from reelspace.core.errors import CorruptArtifact, DiskFull, UserError
from reelspace.core.store import open_store
from reelspace.media.dataset import ShardReader
from reelspace.train.assembly import assemble
from reelspace.train.checkpoint_manifest import VERSION
from reelspace.train.checkpoints import Checkpoints
from reelspace.train.fingerprint import Fingerprint
from reelspace.train.group import Group
from reelspace.train.job import TrainJob
from reelspace.train.loop import Loop
from tests.unit.train.loops import make_loop
from tests.unit.train.test_kill_while_saving import losses
from tests.unit.train.test_launcher import SETTINGS as TWO_SETTINGS
from tests.unit.train.test_launcher import Training
from tests.unit.train.worlds import NUM_WORKS, World, write_world

NEWEST, BEFORE = "step-00000004", "step-00000002"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of six steps, whose checkpoints of steps 2 and 4 are there."""
    run = tmp_path_factory.mktemp("trained") / "run"
    make_loop(run).fit()
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def resume(run: Path) -> Loop:
    loop = make_loop(run)
    loop.fit()
    return loop


def content(directory: Path) -> dict[str, bytes]:
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def resumed_step(told: str) -> int:
    return next(row["step"] for row in map(json.loads, told.splitlines()) if row["event"] == "resumed")


def seal(checkpoint: Path, **change: object) -> None:
    """Rewrite a manifest to fit its files, as one who forges a checkpoint would."""
    manifest = checkpoint / "manifest.json"
    facts = json.loads(manifest.read_text())
    facts["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in content(checkpoint).items() if name != "manifest.json"}
    manifest.write_text(json.dumps({**facts, **change}))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("torch.pt", cut_short, "torch.pt is damaged"),
        ("torch.pt", flip_a_bit, "torch.pt is damaged"),
        ("torch.pt", Path.unlink, "torch.pt is gone"),
        ("train_log.jsonl", cut_short, "train_log.jsonl is damaged"),
        ("manifest.json", cut_short, "its manifest does not read"),
        ("manifest.json", Path.unlink, "its manifest does not read"),
        ("manifest.json", lambda path: path.write_text(""), "its manifest does not read"),
        ("manifest.json", lambda path: path.write_text("[]"), "its manifest does not read"),
    ],
)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_ends_with_the_same_losses(
    run: Path, trained: Path, capfd: pytest.CaptureFixture[str], name: str, damage: Callable[[Path], object], says: str
):
    damage(run / "checkpoints" / NEWEST / name)
    resume(run)
    told = capfd.readouterr().err
    assert says in told
    assert resumed_step(told) == 2
    assert losses(run) == losses(trained)


@pytest.mark.parametrize("text", ["", "step-00000099", "../../elsewhere"])
def test_the_file_latest_of_deepspeed_says_nothing_to_a_resume(run: Path, trained: Path, capfd: pytest.CaptureFixture[str], text: str):
    for place in (run, run / "checkpoints", run / "checkpoints" / NEWEST):
        (place / "latest").write_text(text)
    resume(run)
    assert resumed_step(capfd.readouterr().err) == 4
    assert losses(run) == losses(trained)


def test_a_rank_whose_file_is_missing_costs_one_checkpoint_and_a_wrong_latest_nothing(tmp_path: Path):
    world = write_world(tmp_path / "world")
    settings = TWO_SETTINGS.model_copy(update={"num_processes": 2, "zero_stage": 2, "steps": 6, "checkpoint_every": 2})
    training = Training(world, tmp_path / "training", settings)
    training.finish()
    expected = training.losses()
    newest = training.run / "checkpoints" / NEWEST
    shards = sorted(path.name for path in newest.rglob("*optim_states.pt"))
    assert len(shards) == 2
    (newest / "deepspeed" / shards[1]).unlink()
    for place in (training.run / "checkpoints", newest, newest.with_name(BEFORE)):
        (place / "latest").write_text("step-00000099")
    process = training.start()
    _, told = process.communicate(timeout=280)
    assert process.returncode == 0, told
    assert f"{shards[1]} is gone" in told
    assert {row["step"] for line in told.splitlines() if line.startswith('{"at"') and (row := json.loads(line))["event"] == "resumed"} == {
        2
    }
    assert training.losses() == expected


class _Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.canary),))


def test_a_pickle_with_a_payload_in_place_of_the_state_is_never_unpickled(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    canary = tmp_path / "canary"
    torch.save({"objective": _Payload(canary)}, run / "checkpoints" / NEWEST / "torch.pt")
    resume(run)
    assert resumed_step(capfd.readouterr().err) == 2
    assert not canary.exists()


RANK_FILE = "deepspeed/zero_pp_rank_7_mp_rank_00_optim_states.pt"


@pytest.mark.parametrize(("name", "is_listed"), [("torch.pt", True), (RANK_FILE, True), (RANK_FILE, False)])
@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))], ids=["zip", "bare"])
def test_a_payload_is_never_unpickled_even_under_a_manifest_that_was_forged_with_it(
    run: Path, tmp_path: Path, name: str, is_listed: bool, write: Callable[[object, Path], object]
):
    canary, checkpoint = tmp_path / "canary", run / "checkpoints" / NEWEST
    (checkpoint / name).parent.mkdir(exist_ok=True)
    write({"objective": _Payload(canary)}, checkpoint / name)
    if is_listed:
        seal(checkpoint)
    with pytest.raises(UserError, match=f"{NEWEST}: {name} (calls posix.mkdir|is not what torch.save writes).*which no training writes"):
        resume(run)
    assert not canary.exists()
    # The trap works.
    load = torch.load if write is torch.save else lambda path, **_: pickle.loads(path.read_bytes())  # noqa: S301  it is ours
    load(checkpoint / name, weights_only=False)
    assert canary.exists()


def test_a_manifest_cannot_name_a_file_outside_its_checkpoint(run: Path, capfd: pytest.CaptureFixture[str]):
    manifest = run / "checkpoints" / NEWEST / "manifest.json"
    facts = json.loads(manifest.read_text())
    facts["files"]["../../../secret"] = "0" * 64
    manifest.write_text(json.dumps(facts))
    resume(run)
    told = capfd.readouterr().err
    assert "../../../secret" in told
    assert resumed_step(told) == 2


def test_a_checkpoint_of_a_later_version_is_refused_and_left_as_it_is(run: Path):
    seal(run / "checkpoints" / NEWEST, version=VERSION + 1, something_new=True)
    before = content(run / "checkpoints")
    with pytest.raises(UserError, match=rf"{NEWEST} has format version {VERSION + 1}, this program reads up to {VERSION}"):
        resume(run)
    assert content(run / "checkpoints") == before


@pytest.mark.parametrize("layout", ["deepspeed-zero1-1", "deepspeed-zero2-2", "something-else"])
def test_a_state_the_engine_cannot_take_up_is_refused_with_both_layouts_and_left_as_it_is(run: Path, layout: str):
    seal(run / "checkpoints" / NEWEST, layout=layout)
    before = content(run / "checkpoints")
    with pytest.raises(UserError, match=rf"{NEWEST}, after 4 steps, was written as {layout}, this training runs as torch"):
        resume(run)
    assert content(run / "checkpoints") == before


@pytest.fixture(scope="module")
def two_worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, World]:
    """Two inputs that differ in the labels of one work."""
    first, second = (write_world(tmp_path_factory.mktemp("world")) for _ in range(2))
    labels = second.labels_directory / "video_labels.parquet"

    table = pq.read_table(labels)
    pq.write_table(table.slice(1), labels)
    return first, second


def fingerprint_of(world: World, **change: object) -> Fingerprint:
    settings = TWO_SETTINGS.model_copy(update={"engine": "torch", **change})
    place = {"store": world.store, "shards": world.shards, "labels": world.labels_directory, "out": Path("out")}
    return assemble(TrainJob(kind="pretrain", pretrain=settings, **place)).fingerprint  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "tiny"}, 'model was "tiny_student", is "tiny"'),
        ({"vocabulary_size": 64}, "vocabulary_size was 2000, is 64"),
        ({"precision": "bf16_autocast"}, 'precision was "fp32", is "bf16_autocast"'),
        ({"steps": 3}, r"after 4 steps.*steps was 12, is 3"),
        ({"seed": 1}, "seed was 0, is 1"),
        ({"labels": True}, "data.labels differ"),
    ],
)
def test_a_checkpoint_of_another_model_or_of_other_data_or_settings_is_refused_and_what_differs_is_named(
    run: Path, two_worlds: tuple[World, World], change: dict[str, object], says: str
):
    world, other = two_worlds
    seal(run / "checkpoints" / NEWEST, fingerprint=fingerprint_of(world))
    checkpoints = Checkpoints(run / "checkpoints", run / "unfinished", Group(), fingerprint_of(world))
    loop = make_loop(run)
    assert checkpoints.newest(loop.engine) is not None
    changed = fingerprint_of(other) if "labels" in change else fingerprint_of(world, **change)
    with pytest.raises(UserError, match=says) as refusal:
        replace(checkpoints, fingerprint=changed).newest(loop.engine)
    assert refusal.value.exit_code == 2
    assert "other data or settings" in str(refusal.value)


@pytest.mark.parametrize(
    "change", [{"checkpoint_every": 1}, {"keep_checkpoints": 5}, {"keep_best": False}, {"log_every": 3}, {"num_processes": 2}]
)
def test_what_changes_no_weight_may_change_between_a_training_and_its_continuation(
    two_worlds: tuple[World, World], change: dict[str, object]
):
    assert fingerprint_of(two_worlds[0], **change) == fingerprint_of(two_worlds[0])


def test_a_flipped_bit_in_a_data_shard_is_refused_by_its_hash_and_the_sample_is_named(tmp_path: Path):
    world = write_world(tmp_path)
    artifact = open_artifact(open_store(world.store), world.shards)
    shard = next(name for name in artifact.names() if name.endswith(".tar"))
    reader = ShardReader(artifact)
    row = {name: reader.index[name][0].as_py() for name in ("video_id", "offset", "length")}
    path = Path(world.store) / "artifacts" / world.shards / shard
    data = bytearray(path.read_bytes())
    data[row["offset"] + row["length"] // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(CorruptArtifact, match=rf"sample {row['video_id']} in '{shard}' .* is corrupt: its SHA-256 differs"):
        reader.read(row["video_id"])
    others = [video_id for video_id in reader.video_ids.tolist() if video_id != row["video_id"]]
    assert len(reader.read_all(others)) == NUM_WORKS - 1


def train_on_a_small_disk(place: Path, size_bytes: int, before: str = "true") -> "subprocess.CompletedProcess[str]":
    """Train in `place`, a disk of its own; what it holds at the end is copied to `place`.copy."""
    child = (
        "import sys; from pathlib import Path; from reelspace.core.program import run_main; from tests.unit.train.loops import make_loop; "
        "sys.exit(run_main(lambda: make_loop(Path(sys.argv[1])).fit()))"
    )
    place.mkdir()
    mount = f"mount -t tmpfs -o size={size_bytes} tmpfs {place} || exit 99"
    script = f"{mount}\n{before}\n{sys.executable} -c '{child}' {place}\ncode=$?\ncp -r {place} {place}.copy\nexit $code"
    # Sums of several threads differ in their last bits.
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = subprocess.run(["unshare", "--mount", "sh", "-c", script], env=alone, capture_output=True, text=True, check=False)
    if found.returncode == 99 or "unshare" in found.stderr:
        pytest.skip(f"needs the right to mount a tmpfs: {found.stderr.strip()}")
    return found


def test_a_disk_that_fills_up_while_saving_ends_with_75_and_the_training_goes_on_from_the_checkpoint_before(tmp_path: Path, trained: Path):
    # One checkpoint fits, a second does not.
    size_bytes = int(1.5 * sum(map(len, content(trained / "checkpoints" / NEWEST).values())))
    found = train_on_a_small_disk(tmp_path / "run", size_bytes)
    assert found.returncode == DiskFull.exit_code == 75, found.stderr
    last = found.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "free space" in last
    assert "Traceback" not in found.stderr
    run = tmp_path / "run.copy"
    loop = make_loop(run)
    newest = loop.place.checkpoints.newest(loop.engine)
    assert newest is not None
    assert newest.facts.step == 2
    resume(run)
    assert losses(run) == losses(trained)


def test_a_run_directory_that_became_read_only_ends_with_75_in_one_line_and_stays_as_it_is(tmp_path: Path, run: Path):
    place = tmp_path / "place"
    found = train_on_a_small_disk(place, 64 << 20, before=f"cp -r {run}/. {place} && mount -o remount,ro {place}")
    assert found.returncode == 75, found.stderr
    assert "read-only" in found.stderr.splitlines()[-1]
    assert "Traceback" not in found.stderr
    assert content(tmp_path / "place.copy") == content(run)
