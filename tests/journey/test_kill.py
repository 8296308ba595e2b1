"""SIGKILL inside every step of one journey, resumed each time: nothing finished is redone, nothing half is used."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
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
# These two read or change what others may have changed since: they run every time.
ALWAYS_RUN = ("import_tables", "promote")
AT_WORK = ".reelspace/work/*"
# What a step has left in the store when it is well under way, whatever the machine's speed; the others are killed as they begin.
UNDER_WAY = {
    "preprocess_media": "runs/*/state/shards/*",
    "pretrain": "runs/*/state/checkpoints/step-*",
    "distill": "runs/*/state/checkpoints/step-*",
    "embed": ".reelspace/work/*/scratch/teacher/model.safetensors",
    "export": ".reelspace/work/*/scratch/outputs/repository/text_encoder",
}


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


@dataclass
class Ended:
    """How a run ended: its exit code, the step it was killed in, and the journal if it went to its end."""

    code: int
    killed_in: str | None
    journal: list[dict[str, object]]


def run(world: Path, place: Path, kill_in: Collection[str] = ()) -> Ended:
    """Run the pipeline; SIGKILL its whole process group while the first of the named steps is at work (their order is kfp's)."""
    process = subprocess.Popen(
        command(world, place), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    killed_in: str | None = None
    steps: list[dict[str, object]] = []
    tail: list[str] = []
    for line in process.stdout or ():
        tail = [*tail[-30:], line]
        if killed_in is None and "Executing task" in line:
            killed_in = next((step for step in kill_in if step.replace("_", "-") in line), None)
            if killed_in is not None:
                threading.Thread(target=kill_at_work, args=(process, place / "store", UNDER_WAY.get(killed_in, AT_WORK))).start()
        if line.strip().startswith('{"event": "pipeline_done"'):
            steps = json.loads(line)["steps"]
    code = process.wait()
    assert code == (-signal.SIGKILL if kill_in else 0), "".join(tail)
    return Ended(code, killed_in, steps)


def kill_at_work(process: "subprocess.Popen[str]", store: Path, sign: str) -> None:
    """Wait until the step holds its work directory and has left the sign, then SIGKILL."""
    while process.poll() is None and not (any(store.glob(AT_WORK)) and any(store.glob(sign))):
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def finished(place: Path) -> set[str]:
    """Steps that recorded their outputs."""
    store = open_store(str(place / "store"))
    return {key.split("/")[1] for key in store.list("runs/") if key.endswith("/outputs.json")}


def kill_and_resume(world: Path, place: Path, steps: Collection[str]) -> None:
    left = set(steps)
    while left:
        before = finished(place)
        ended = run(world, place, kill_in=left)
        assert ended.killed_in in left
        left.remove(ended.killed_in)
        after = finished(place)
        assert after >= before
        at_work = [directory.name for directory in (place / "store" / ".reelspace" / "work").iterdir()]
        assert not after.issuperset(at_work), f"{ended.killed_in} was over when the signal came"
    survivors = finished(place)
    journal = run(world, place).journal
    assert {row["step"] for row in journal} == set(STEPS)
    reused = {str(row["key"]) for row in journal if row["reused"]}
    assert survivors <= reused | {str(row["key"]) for row in journal if row["step"] in ALWAYS_RUN}
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
