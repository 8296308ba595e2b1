"""The pretrain step: its files, its resumption after a kill on this machine and on another, its refusals."""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelspace.core.store import open_store
from reelspace.model.checkpoint import load_model
from tests.steps.training_steps import FILES, LIMIT_S, PRETRAIN, Place, logged
from tests.unit.train.worlds import NUM_WORKS, TOPICS

SETTINGS = PRETRAIN.model_dump(mode="json")
ARGUMENTS = ("pretrain", "shards", "labels", "teacher")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An uninterrupted run."""
    place = Place.make(tmp_path_factory.mktemp("whole"))
    code, told = place.run(*ARGUMENTS, settings=SETTINGS)
    assert code == 0, told
    return place


def wait_for(condition: Callable[[], bool], process: "Popen[str]") -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_the_teacher_has_the_files_of_a_model_whose_space_is_named_by_its_bytes(whole: Place, tmp_path: Path):
    teacher = whole.artifact("teacher")
    assert set(teacher.names()) >= FILES
    digest = hashlib.sha256(teacher.read("model.safetensors") + teacher.read("model.json")).hexdigest()
    assert json.loads(teacher.read("space.json")) == {"space_id": digest[:16], "dimension": 128}
    labels = pq.read_table(pa.BufferReader(teacher.read("labels.parquet"))).to_pylist()
    assert [row["text"] for row in labels] == list(TOPICS)
    summary = json.loads(teacher.read("summary.json"))
    model, _, _ = load_model(teacher.fetch(tmp_path))
    assert summary["num_parameters"] == sum(weight.numel() for weight in model.parameters())
    assert (summary["works"], summary["labels"], summary["num_skipped"]) == (NUM_WORKS, len(TOPICS), 0)
    assert [step for step, _ in logged(teacher)] == list(range(1, PRETRAIN.steps + 1))
    assert teacher.run_facts()["metrics"] == summary


def test_a_second_run_reuses_the_teacher_without_training(whole: Place):
    before = whole.manifest("teacher").read_bytes()
    whole.manifest("teacher").unlink()
    code, told = whole.run(*ARGUMENTS, settings=SETTINGS)
    assert code == 0, told
    assert '"reused": true' in told
    assert whole.manifest("teacher").read_bytes() == before


def test_a_step_killed_in_training_resumes_to_the_very_weights_of_an_uninterrupted_one(whole: Place, tmp_path: Path):
    place = Place.make(tmp_path)
    killed = place.start(*ARGUMENTS, settings=SETTINGS)
    wait_for(lambda: any(Path(place.world.store).glob("runs/*/state/checkpoints/step-*")), killed)
    killed.kill()
    killed.communicate()
    code, told = place.run(*ARGUMENTS, settings=SETTINGS)
    assert code == 0, told
    assert '"event": "resumed"' in told
    assert logged(place.artifact("teacher")) == logged(whole.artifact("teacher"))
    assert place.artifact("teacher").read("space.json") == whole.artifact("teacher").read("space.json")


@pytest.mark.timeout(600)
def test_a_training_killed_on_one_machine_goes_on_from_the_store_on_another_to_the_same_losses(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = {**SETTINGS, "steps": 40}
    whole = Place.make(tmp_path / "whole")
    code, told = whole.run(*ARGUMENTS, settings=settings)
    assert code == 0, told
    place = Place.make(tmp_path / "world", s3_url)
    store = open_store(s3_url)
    monkeypatch.setenv("TMPDIR", str(_directory(tmp_path / "machine-1")))
    killed = place.start(*ARGUMENTS, settings=settings)
    wait_for(lambda: any("step-" in path for path in _saved(store)), killed)
    killed.kill()
    killed.communicate()
    shutil.rmtree(tmp_path / "machine-1", ignore_errors=True)
    monkeypatch.setenv("TMPDIR", str(_directory(tmp_path / "machine-2")))
    code, told = place.run(*ARGUMENTS, settings=settings)
    assert code == 0, told
    assert '"event": "resumed"' in told
    assert logged(place.artifact("teacher")) == logged(whole.artifact("teacher"))
    assert [key for key in store.list("runs/") if "/state/" in key] == []


def _saved(store) -> dict[str, str]:
    lists = [key for key in store.list("runs/") if key.endswith("/state/files.json")]
    return dict(json.loads(store.get(lists[0]))) if lists else {}


def _directory(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lerning_rate": 1e-3}, "'lerning_rate' is unknown"),
        ({"optimizer": {"learning_rate": -1}}, "optimizer.learning_rate"),
        ({"batch_size": 1}, "batch_size"),
        ({"engine": "torch", "offload": "optimizer"}, "choose deepspeed"),
        ({"train_until": "2024-01-01T00:00:00Z"}, "2024-01-01"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_2(whole: Place, change: dict[str, object], says: str):
    code, told = whole.run(*ARGUMENTS, settings={**SETTINGS, **change})
    assert code == 2
    lines = [line for line in told.splitlines() if not line.startswith("{")]
    assert len(lines) in (1, 2), told
    assert all(says in line for line in lines)
    assert tempfile.gettempdir() not in lines[0]


def test_masks_by_attention_ask_the_earlier_teacher_that_the_settings_name(whole: Place, tmp_path: Path):
    by_attention = {**SETTINGS, "steps": 2, "masks": {**SETTINGS["masks"], "selector": "attention"}}
    shutil.copy(whole.manifest("teacher"), whole.manifest("before"))
    try:
        code, told = whole.run(*ARGUMENTS, settings=by_attention)
        assert (code, "set previous to its id" in told) == (2, True), told
        code, told = whole.run(*ARGUMENTS, settings={**by_attention, "previous": whole.artifact("before").id})
        assert code == 0, told
        assert whole.artifact("before").id in whole.artifact("teacher").manifest.parents
    finally:
        shutil.copy(whole.manifest("before"), whole.manifest("teacher"))
