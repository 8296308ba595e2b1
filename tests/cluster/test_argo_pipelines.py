"""`train_and_publish` on plain Argo: real controller, real pods on the real node, every byte in a real S3 server."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from reelspace.core.step_records import JournalEntry
from reelspace.demo.generate import generate
from reelspace.demo.presets import CUTOFF, world_preset
from reelspace.steps.presets import journey_preset

from .argo import Argo
from .argo_place import LIMIT_S, ROOT, ArgoPlace, argo_place, upload
from .control_plane import Json
from .object_store import ObjectStore
from .real_node import RealNode

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

SECTIONS = journey_preset("smoke", cutoff=CUTOFF.isoformat())
# Of the same bytes everywhere; the training after them is compared in figures.
FIXED = ("import_tables", "preprocess_signals", "preprocess_media")
KILLED = ("preprocess_media", "pretrain")
NUM_WORKS = 60


@dataclass(frozen=True, slots=True)
class Whole:
    """A run that nothing disturbed: what it did, what was seen of it while it ran, and what `logs --follow` told by then and at the end."""

    run_id: str
    journal: Mapping[str, JournalEntry]
    seen: frozenset[tuple[str, str]]
    told_at_training: str
    told: str


@pytest.fixture(scope="module")
def tables(pod_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A generated world in the S3 server."""
    world = tmp_path_factory.mktemp("world") / "world"
    generate(world_preset("demo", num_works=NUM_WORKS), world)
    return upload(pod_store, world)


@pytest.fixture(scope="module")
def place(
    shared_real_argo: Argo, shared_node: RealNode, pod_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ArgoPlace]:
    with argo_place(shared_real_argo, shared_node, pod_store, tmp_path_factory.mktemp("place")) as prepared:
        yield prepared


@pytest.fixture(scope="module")
def whole(place: ArgoPlace, tables: str) -> Whole:
    run_id = submitted(place, tables)
    follower = [sys.executable, "-m", "reelspace.cli", "pipeline", "logs", run_id, "--follow"]
    told, seen, at_training = place.folder / "told.log", set(), ""
    with told.open("wb") as log, subprocess.Popen(follower, cwd=ROOT, env=place.environment, stdout=log, stderr=log) as following:
        while following.poll() is None:
            steps = place.steps(run_id)
            seen |= {(name, row["state"]) for name, row in steps.items()}
            if steps["pretrain"]["state"] == "running" and not at_training:
                at_training = told.read_text()
    return Whole(run_id, place.journal(run_id), frozenset(seen), at_training, told.read_text())


def submitted(place: ArgoPlace, tables: str, sections: Mapping[str, object] = SECTIONS) -> str:
    """Submit the pipeline and give the id of the run."""
    ended = place.reelspace("submit", "train_and_publish", *place.asked(tables, sections))
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def until(look: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not look():
        assert time.monotonic() < end_s, f"no {what} within {LIMIT_S:g} s"
        time.sleep(0.2)


def until_step(place: ArgoPlace, run_id: str, step: str, *states: str) -> None:
    until(lambda: place.steps(run_id)[step]["state"] in states, f"{step} that is {' or '.join(states)}")


def tries(place: ArgoPlace, run_id: str, step: str) -> list[Json]:
    """The nodes of a step's pods, the first try at the head."""
    (workflow,) = place.argo.cluster.find("workflow", f"reelspace.io/run={run_id}")
    nodes = workflow.get("status", {}).get("nodes", {}).values()
    found = [node for node in nodes if node["type"] == "Pod" and node["templateName"] == step.replace("_", "-")]
    return sorted(found, key=lambda node: str(node["startedAt"]))


def kill_inside(place: ArgoPlace, run_id: str, step: str) -> None:
    """Kill the Python of a step's pod, as the kernel does where memory runs out."""
    workflow = f"workflows.argoproj.io/workflow=train-and-publish-{run_id[:12]}"
    pods = [pod for pod in place.argo.cluster.pods(workflow, "Running") if step.replace("_", "-") in pod["metadata"]["name"]]
    (container,) = [
        one["containerID"].rpartition("/")[2] for pod in pods for one in pod["status"]["containerStatuses"] if one["name"] == "main"
    ]
    inside = [process for process in Path("/proc").glob("[0-9]*") if is_python_of(process, container)]
    assert inside, f"no Python in the pod of {step}"
    for process in inside:
        os.kill(int(process.name), signal.SIGKILL)


def is_python_of(process: Path, container: str) -> bool:
    # Processes come and go while they are listed, and those of the kernel have no program.
    try:
        return container in (process / "cgroup").read_text() and (process / "exe").readlink().name.startswith("python")
    except OSError:
        return False


def test_a_run_succeeds_and_leaves_its_artifacts_in_the_store(place: ArgoPlace, whole: Whole) -> None:
    assert place.runs()[whole.run_id]["state"] == "done", whole.told[-3000:]
    # Parts of a step have entries too.
    assert set(SECTIONS) <= set(whole.journal)
    assert {entry.exit_code for entry in whole.journal.values()} == {0}
    assert not any(entry.reused for entry in whole.journal.values())


def test_status_and_logs_show_a_run_while_it_runs(whole: Whole) -> None:
    assert {("pretrain", "running"), ("pretrain", "open"), ("import_tables", "done"), ("promote", "done")} <= whole.seen
    assert '"step": "import_tables"' in whole.told_at_training
    assert '"step": "pretrain"' not in whole.told_at_training
    events = [json.loads(line) for line in whole.told.splitlines() if line.startswith('{"')]
    ended = [event["step"] for event in events if event["event"] == "step"]
    assert set(SECTIONS) <= set(ended)
    assert len(ended) == len(set(ended))
    assert {event["what"] for event in events if event["event"] == "progress"}


def test_a_step_that_is_killed_is_tried_again_and_the_run_ends_with_the_same_artifacts(place: ArgoPlace, tables: str, whole: Whole) -> None:
    other = replace(place, store_url=f"{place.store_url}-killed")
    run_id = submitted(other, tables)
    for step in KILLED:
        until_step(other, run_id, step, "running")
        kill_inside(other, run_id, step)
    until(lambda: other.runs()[run_id]["state"] != "running", "end of the run")
    assert other.runs()[run_id]["state"] == "done", other.reelspace("logs", run_id).stdout[-3000:]
    num_tries = {step: len(tries(other, run_id, step)) for step in SECTIONS}
    assert num_tries == dict.fromkeys(SECTIONS, 1) | dict.fromkeys(KILLED, 2)
    again = other.journal(run_id)
    assert {step: again[step].outputs for step in FIXED} == {step: whole.journal[step].outputs for step in FIXED}
    assert set(again) == set(whole.journal)


def test_a_wrong_setting_is_not_tried_again_and_ends_the_command_as_it_does_here(place: ArgoPlace, tables: str) -> None:
    wrong = {**SECTIONS, "import_tables": {"no_such_key": 1}}
    ended = place.reelspace("run", "train_and_publish", *place.asked(tables, wrong))
    assert ended.returncode == 2, ended.stderr
    assert "no_such_key" in ended.stderr
    (run_id, row) = next(iter(place.runs().items()))
    assert (row["state"], row["exit_code"]) == ("failed", 2)
    assert len(tries(place, run_id, "import_tables")) == 1
    assert place.steps(run_id)["pretrain"]["state"] == "not run"


def test_a_cancelled_run_ends_its_pods_and_goes_on_when_it_is_tried_again(place: ArgoPlace, tables: str, whole: Whole) -> None:
    run_id = submitted(place, tables)
    until_step(place, run_id, "preprocess_signals", "running", "reused")
    cancelled = place.reelspace("cancel", run_id)
    assert cancelled.stdout.strip() == run_id, cancelled.stderr
    assert place.runs()[run_id]["state"] == "cancelled"
    workflow = f"workflows.argoproj.io/workflow=train-and-publish-{run_id[:12]}"
    until(lambda: not place.argo.cluster.pods(workflow, "Running"), "end of the pods")
    again = place.reelspace("retry", run_id)
    assert again.returncode == 0, again.stderr
    assert "reused" in again.stdout
    newest = next(iter(place.runs()))
    assert newest != run_id
    again_journal = place.journal(newest)
    assert {step: again_journal[step].outputs for step in SECTIONS} == {step: whole.journal[step].outputs for step in SECTIONS}


def test_the_logs_of_pods_that_are_gone_are_read_from_where_argo_kept_them(place: ArgoPlace, whole: Whole) -> None:
    workflow = f"workflows.argoproj.io/workflow=train-and-publish-{whole.run_id[:12]}"
    assert len(place.argo.cluster.pods(workflow)) >= len(SECTIONS)
    place.argo.cluster.kubectl("delete", "pods", f"--selector={workflow}")
    assert not place.argo.cluster.pods(workflow)
    told = place.reelspace("logs", whole.run_id)
    assert told.returncode == 0, told.stderr
    events = [json.loads(line) for line in told.stdout.splitlines() if line.startswith('{"')]
    assert [event["step"] for event in events if event["event"] == "step" and event["step"] in ("import_tables", "promote")] == [
        "import_tables",
        "promote",
    ]
