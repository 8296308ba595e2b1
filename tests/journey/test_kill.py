"""SIGKILL inside every step of one journey, resumed each time: nothing finished is redone, nothing half is used."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipelines.run import STEPS
from reelspace.core.artifacts import open_artifact
from reelspace.core.store import open_store
from reelspace.demo.generate import generate
from reelspace.demo.presets import CUTOFF, world_preset
from reelspace.steps.presets import journey_preset

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ("preprocess_media", "pretrain")
# import_tables always runs, so the journey can be killed in it only before anything else.
KILLED_LATE_S = 0.4


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    generate(world_preset("demo", seed=5, num_works=80), out)
    return out


def command(world: Path, place: Path) -> list[str]:
    settings = place / "settings.json"
    place.mkdir(exist_ok=True)
    settings.write_text(json.dumps(journey_preset("smoke", cutoff=CUTOFF.isoformat())))
    return [
        *(sys.executable, "-m", "pipelines.run", "train_and_publish", "--store", str(place / "store"), "--work", str(place / "work")),
        *("--tables", str(world), "--truth", str(world), "--settings", str(settings)),
    ]


def run(world: Path, place: Path, kill_in: str | None = None) -> tuple[int, list[dict[str, object]]]:
    """Run the pipeline; SIGKILL its whole process group shortly after the named step has begun."""
    process = subprocess.Popen(
        command(world, place), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    steps: list[dict[str, object]] = []
    tail: list[str] = []
    for line in process.stdout or ():
        tail = [*tail[-30:], line]
        if kill_in is not None and "Executing task" in line and kill_in.replace("_", "-") in line:
            threading.Timer(KILLED_LATE_S * (1 + len(kill_in) % 5), os.killpg, (process.pid, signal.SIGKILL)).start()
        if line.strip().startswith('{"event": "pipeline_done"'):
            steps = json.loads(line)["steps"]
    code = process.wait()
    if kill_in is None:
        assert code == 0, "".join(tail)
    return code, steps


def finished(place: Path) -> set[str]:
    """Steps that recorded their outputs."""
    store = open_store(str(place / "store"))
    return {key.split("/")[1] for key in store.list("runs/") if key.endswith("/outputs.json")}


def kill_and_resume(world: Path, place: Path, steps: tuple[str, ...]) -> None:
    for step in steps:
        before = finished(place)
        code, _ = run(world, place, kill_in=step)
        assert code == -signal.SIGKILL, f"the run was not killed in {step}"
        assert finished(place) >= before
    survivors = finished(place)
    _, journal = run(world, place)
    assert [row["step"] for row in journal] == list(STEPS)
    reused = {str(row["key"]) for row in journal if row["reused"]}
    assert survivors <= reused | {str(row["key"]) for row in journal if row["step"] == "import_tables"}
    store = open_store(str(place / "store"))
    for row in journal:
        for artifact_id in dict(row["outputs"]).values():  # type: ignore[call-overload]
            open_artifact(store, artifact_id).verify()


@pytest.mark.journey
@pytest.mark.timeout(900)
def test_a_journey_killed_in_two_steps_finishes_without_redoing_finished_ones(world: Path, tmp_path: Path) -> None:
    kill_and_resume(world, tmp_path / "place", SAMPLE)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_journey_killed_once_inside_every_step_finishes_without_redoing_finished_ones(world: Path, tmp_path: Path) -> None:
    kill_and_resume(world, tmp_path / "place", STEPS)
