"""A teacher goes on from an earlier one: its space stays, its works are replayed, and what it trained on is told."""

import json
from pathlib import Path

import pytest
import torch

from reelspace.model.checkpoint import load_model
from reelspace.train.windows import windows_of
from tests.steps.training_steps import PRETRAIN, Place

ARGUMENTS = ("pretrain", "shards", "labels", "teacher")
FIRST = {**PRETRAIN.model_dump(mode="json"), "train_until": "2025-01-13T00:00:00Z"}
DAY = {"since": "2025-01-16T00:00:00Z", "until": "2025-01-19T00:00:00Z", "held_out": 0.0}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A teacher of the first twelve days."""
    place = Place.make(tmp_path_factory.mktemp("replay"))
    code, told = place.run(*ARGUMENTS, settings=FIRST)
    assert code == 0, told
    place.manifest("teacher").rename(place.manifest("first"))
    return place


def replay_of(place: Place, **changes: object) -> dict[str, object]:
    objective = {"nt_xent": 0.0, "keywords": 0.0}
    replay = {"teacher": place.artifact("first").id, "seen": [{"until": FIRST["train_until"]}], "new": DAY}
    return {**FIRST, "train_until": None, "objective": objective, "replay": {**replay, **changes}}


def test_it_goes_on_in_the_space_of_the_teacher_with_its_works_and_the_new_ones(place: Place, tmp_path: Path) -> None:
    code, told = place.run(*ARGUMENTS, settings=replay_of(place))
    assert code == 0, told
    first, teacher = place.artifact("first"), place.artifact("teacher")
    assert teacher.read("space.json") == first.read("space.json")
    assert teacher.read("tokenizer.json") == first.read("tokenizer.json")
    assert first.id in teacher.manifest.parents
    # Twelve days of the first, three of the new, and none of those between.
    assert json.loads(teacher.read("summary.json"))["works"] == 15
    assert len(windows_of(teacher.manifest.settings) or ()) == 2
    old, new = (load_model(artifact.fetch(tmp_path / name))[0] for name, artifact in (("old", first), ("new", teacher)))
    differences = [float((a - b).detach().abs().max()) for a, b in zip(old.parameters(), new.parameters(), strict=True)]
    assert max(differences) > 0
    assert all(torch.isfinite(parameter).all() for parameter in new.parameters())
    assert '"loss_kept"' in teacher.read("train_log.jsonl").decode()


def test_a_second_day_goes_on_from_the_first_with_all_its_windows(place: Place) -> None:
    if not place.manifest("teacher").is_file():
        assert place.run(*ARGUMENTS, settings=replay_of(place))[0] == 0
    place.manifest("second").write_bytes(place.manifest("teacher").read_bytes())
    seen = [{"until": FIRST["train_until"]}, DAY]
    next_day = {"since": DAY["until"], "until": "2025-01-20T00:00:00Z"}
    settings = replay_of(place, teacher=place.artifact("second").id, seen=seen, new=next_day)
    code, told = place.run(*ARGUMENTS, settings=settings)
    assert code == 0, told
    assert json.loads(place.artifact("teacher").read("summary.json"))["works"] == 16
    assert place.artifact("teacher").read("space.json") == place.artifact("first").read("space.json")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seen": [{"until": "2025-01-15T00:00:00Z"}]}, "trained on"),
        ({"new": {"since": "2026-01-01T00:00:00Z"}}, "expected some new"),
    ],
)
def test_works_that_do_not_fit_are_refused(place: Place, change: dict[str, object], says: str) -> None:
    code, told = place.run(*ARGUMENTS, settings=replay_of(place, **change))
    assert code == 2, told
    assert says in told


def test_an_artifact_that_is_no_teacher_is_refused(place: Place) -> None:
    code, told = place.run(*ARGUMENTS, settings=replay_of(place, teacher=place.artifact("shards").id))
    assert (code, "expected a teacher" in told) == (2, True), told
