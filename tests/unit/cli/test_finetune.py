"""`reelspace finetune` as its guide tells it: the commands and the lines of Python of the guide are run."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelspace.core.errors import UserError
from reelspace.model.checkpoint import space_id
from reelspace.steps.finetune_locally import finetune_locally
from tests.steps.finetune_world import make_place, topic_rows, write_table
from tests.steps.training_steps import Place

GUIDE = (Path(__file__).resolve().parents[3] / "docs/guides/finetuning.md").read_text()
# A quick training in place of the default one.
QUICK = ("--set", "steps=4", "--set", "engine=torch", "--set", "batch_size=4", "--set", "min_works=2")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(tmp_path_factory.mktemp("place"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def run(place: Place, command: str, out: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command of the guide on the place, with its ids and files."""
    told = command.replace("my-out/store", place.world.store).replace("my-head", str(out))
    told = told.replace("--model <id>", f"--model {place.artifact('teacher').id}").replace(
        "--shards <id>", f"--shards {place.world.shards}"
    )
    told = told.replace("my-labels.jsonl", write_table(place.root / "my-labels.jsonl", topic_rows()))
    words = shlex.split(told.replace("<labels id>", place.world.labels).replace("\\\n", " "))
    assert words[0] == ".venv/bin/python"
    assert not any("<" in word for word in words)
    return subprocess.run([sys.executable, *words[1:], *QUICK], capture_output=True, text=True, timeout=280, check=False)


def test_the_commands_of_the_guide_give_heads_that_score_as_it_says(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first, second = blocks("bash")
    ended = run(place, first, tmp_path / "my-head")
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert len(told["head"]) == 64
    assert (told["works"], told["held_out"]["works"]) == (12, 8)
    monkeypatch.chdir(tmp_path)
    given = {"Path": Path, "space_id": space_id(place.artifact("teacher").fetch(tmp_path / "teacher")), "vectors_ND": np.eye(128)[:3]}
    (code,) = blocks("python")
    exec(code, given)  # noqa: S102  the lines of our own guide
    assert given["scores_NK"].shape == (3, 4)
    assert np.allclose(given["scores_NK"].sum(axis=1), 1, atol=1e-5)
    ended = run(place, second, tmp_path / "other")
    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "other/task.json").read_text())["num_classes"] == 4


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "0" * 64}, "is not in store"),
        ({"model": "my-teacher"}, "expected 64 hex digits"),
        ({"shards": "teacher"}, "is of kind teacher, expected shards"),
        ({"table": "shards"}, "is of kind shards, expected table or labels"),
        ({"table": "no.jsonl"}, "no file or directory no.jsonl"),
        ({"settings": ["step=3"]}, "'step' is unknown"),
        ({"out": Path(__file__).parent}, "expected an empty or absent directory"),
    ],
)
def test_a_wrong_input_is_refused(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], says: str):
    monkeypatch.setenv("REELSPACE_STORE", "set by the command")
    ids = {"teacher": place.artifact("teacher").id, "shards": place.world.shards}
    given = {"model": ids["teacher"], "shards": ids["shards"], "table": "no.jsonl", "out": tmp_path / "out", "settings": []}
    given |= {name: ids.get(value, value) if isinstance(value, str) else value for name, value in change.items()}
    with pytest.raises(UserError, match=says):
        finetune_locally(place.world.store, given["model"], given["shards"], given["table"], given["out"], given["settings"])
    assert not (tmp_path / "out").exists()
