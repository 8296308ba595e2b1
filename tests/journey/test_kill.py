"""SIGKILL inside every step of a journey and at random moments, resumed each time: nothing finished is redone, nothing half is used."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.steps import steps_of
from pipelines.train_and_publish import train_and_publish
from reelspace.core.artifacts import open_artifact
from reelspace.core.store import open_store
from reelspace.demo.generate import generate
from reelspace.demo.presets import CUTOFF, world_preset
from reelspace.steps.presets import journey_preset

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ("preprocess_media", "pretrain")
STEPS = steps_of(train_and_publish)
# These two read or change what others may have changed since: they run every time.
ALWAYS_RUN = ("import_tables", "promote")
AT_WORK = ".reelspace/work/*"
ALWAYS_WRITTEN = {"tables", "media", "promotion"}
DETERMINISTIC = ("import_tables", "preprocess_signals", "preprocess_media")
NUM_RANDOM_KILLS = 20
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
    check_rest(world, place)


def check_rest(world: Path, place: Path) -> list[dict[str, object]]:
    """Let the journey end: what was finished is reused, and every output is whole; gives the journal."""
    survivors, before = finished(place), records(place)
    journal = run(world, place).journal
    assert {row["step"] for row in journal} == set(STEPS)
    redone = [row["step"] for row in journal if row["key"] in survivors and not row["reused"] and row["step"] not in ALWAYS_RUN]
    assert redone == []
    # A step within a step is not in the journal: that it was not redone shows in its record.
    assert before.items() <= records(place).items()
    store = open_store(str(place / "store"))
    for row in journal:
        for artifact_id in dict(row["outputs"]).values():  # type: ignore[call-overload]
            open_artifact(store, artifact_id).verify()
    return journal


def run_for(world: Path, place: Path, seconds: float) -> bool:
    """Run the pipeline, and SIGKILL the runner alone after that time: its steps must notice by themselves. Tells whether it was killed."""
    log = place.with_suffix(".log")
    with log.open("w") as told:
        process = subprocess.Popen(command(world, place), cwd=ROOT, stdout=told, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    assert code in (0, -signal.SIGKILL), "".join(log.read_text().splitlines(keepends=True)[-30:])
    return code != 0


def records(place: Path) -> dict[str, int]:
    """When each finished step was recorded, nanoseconds; without those that run every time. Every output is whole."""
    store, found = open_store(str(place / "store")), {}
    for path in (place / "store" / "runs").glob("*/outputs.json"):
        outputs = dict(json.loads(path.read_bytes())["outputs"])
        for artifact_id in outputs.values():
            open_artifact(store, artifact_id).verify()
        if not outputs.keys() & ALWAYS_WRITTEN:
            found[path.parent.name] = path.stat().st_mtime_ns
    return found


def kill_at_random(world: Path, place: Path, moments: Iterator[float]) -> int:
    """Kill one journey again and again until it ends, or no moment is left; gives the number of kills."""
    num_kills = 0
    for seconds in moments:
        before = records(place)
        was_killed = run_for(world, place, seconds)
        assert before.items() <= records(place).items(), f"a finished step was redone before kill {num_kills + 1}, after {seconds:.1f} s"
        if not was_killed:
            break
        num_kills += 1
    return num_kills


@pytest.mark.journey
@pytest.mark.timeout(900)
def test_a_journey_killed_in_two_steps_finishes_without_redoing_finished_ones(world: Path, tmp_path: Path) -> None:
    kill_and_resume(world, tmp_path / "place", SAMPLE)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_journey_killed_once_inside_every_step_finishes_without_redoing_finished_ones(world: Path, tmp_path: Path) -> None:
    kill_and_resume(world, tmp_path / "place", STEPS)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_journeys_whose_runner_is_killed_at_twenty_random_moments_finish_without_redoing_finished_steps(
    world: Path, tmp_path: Path
) -> None:
    start_s, draw = time.monotonic(), random.Random(20)
    whole = {row["step"]: row["outputs"] for row in run(world, tmp_path / "whole").journal}
    whole_s = time.monotonic() - start_s
    num_kills = 0
    while num_kills < NUM_RANDOM_KILLS:
        place = tmp_path / f"after-{num_kills}"
        moments = (draw.uniform(0.0, whole_s) for _ in range(NUM_RANDOM_KILLS - num_kills))
        num_kills += kill_at_random(world, place, moments)
        again = {row["step"]: row["outputs"] for row in check_rest(world, place)}
        assert [again[step] for step in DETERMINISTIC] == [whole[step] for step in DETERMINISTIC]
