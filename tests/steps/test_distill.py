"""The distill step: a student in its teacher's space, trained by DeepSpeed."""

import json
from pathlib import Path

import pytest
import torch

from reelspace.core.artifacts import open_artifact
from reelspace.core.store import open_store
from reelspace.model.checkpoint import load_model
from reelspace.train.settings import DistillSettings
from tests.steps.training_steps import FILES, PRETRAIN, Place, logged
from tests.unit.train.test_launcher import without_compilers

SETTINGS = DistillSettings(steps=12, batch_size=8, checkpoint_every=4, log_every=1).model_dump(mode="json")
ARGUMENTS = ("distill", "teacher", "shards", "labels", "student")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place with a teacher."""
    place = Place.make(tmp_path_factory.mktemp("place"))
    code, told = place.run("pretrain", "shards", "labels", "teacher", settings={**PRETRAIN.model_dump(mode="json"), "steps": 2})
    assert code == 0, told
    return place


def test_the_student_learns_without_a_compiler_and_keeps_the_teachers_space(place: Place, tmp_path: Path):
    code, told = place.run(*ARGUMENTS, settings=SETTINGS, path=without_compilers(tmp_path / "bin"))
    assert code == 0, told
    student, teacher = place.artifact("student"), place.artifact("teacher")
    assert set(student.names()) >= FILES
    assert json.loads(student.read("space.json")) == json.loads(teacher.read("space.json"))
    for name in ("tokenizer.json", "labels.parquet", "label_head.safetensors"):
        assert student.read(name) == teacher.read(name), name
    losses = [loss for _, loss in logged(student)]
    assert losses[-1] < losses[0]
    ours, _, _ = load_model(student.fetch(tmp_path / "student"))
    theirs, _, _ = load_model(teacher.fetch(tmp_path / "teacher"))
    assert not torch.equal(ours.fusion.modality, theirs.fusion.modality)


def test_a_second_student_learns_from_the_answers_that_the_teacher_gave_the_first(place: Place):
    """It differs in steps, weights, engine and number of processes, which all read the same files."""
    first = outputs_of(place)
    code, told = place.run(*ARGUMENTS, settings={**SETTINGS, "steps": 2, "labels": 0.0, "num_processes": 2, "engine": "torch"})
    assert code == 0, told
    assert outputs_of(place) == first
    assert '"step": "teacher_outputs"' in told
    assert '"reused": true' in told
    assert "ask the teacher" not in told
    answers = open_artifact(open_store(place.world.store), first)
    assert set(answers.manifest.parents) == {place.artifact(name).id for name in ("teacher", "shards", "labels")}


def outputs_of(place: Place) -> str:
    """The id of the answers that the newest student learned from."""
    return str(place.artifact("student").run_facts()["metrics"]["teacher_outputs"])


def test_a_student_of_another_kind_of_input_is_refused(place: Place):
    code, told = place.run(*ARGUMENTS, settings={**SETTINGS, "model": "no_such_size"})
    assert code == 2
    assert "no_such_size" in told
    assert "Traceback" not in told
