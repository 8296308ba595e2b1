"""The step pretrain as a TrainJob of two pods that train for real, on one node, with a real S3 server between them.

Kubeflow Trainer and JobSet are the real ones, the step is a process with the rights that the guide gives it, and what the pods make is
compared with what two processes of this machine make of the same inputs.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reelspace.core.store import open_store
from reelspace.train.cluster.manifest import KEY_LABEL
from reelspace.train.cluster.runtime import runtime
from reelspace.train.cluster.training_files import TrainingFiles
from tests.steps.training_steps import FILES, LIMIT_S, PRETRAIN, Place, logged

from .control_plane import Cluster, Json
from .object_store import ObjectStore
from .operators import JOBSET_LABEL
from .real_node import RealNode
from .trainings import STORE_SECRET, TRAIN_IMAGE, mounted_task, step_account, write_train_image

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ARGUMENTS = ("pretrain", "shards", "labels", "teacher")
STEPS = 24
# ZeRO stage 1: each pod has files of its own in a checkpoint.
SETTINGS = {**PRETRAIN.model_dump(mode="json"), "engine": "deepspeed", "num_processes": 2, "steps": STEPS, "checkpoint_every": 4}
CLUSTER = {"image": TRAIN_IMAGE, "num_nodes": 2, "num_processes": 1, "store_secret": STORE_SECRET, "stop_grace_s": 60}
_POLL_S = 1.0


@dataclass
class Seen:
    """What was there while a step ran: ids of TrainJobs and pods, and how often JobSet began anew."""

    train_jobs: set[str] = field(default_factory=set)
    pods: set[str] = field(default_factory=set)
    restarts: int = 0

    def look(self, cluster: Cluster) -> None:
        self.train_jobs |= {job["metadata"]["uid"] for job in cluster.find("trainjobs")}
        self.pods |= {pod["metadata"]["uid"] for pod in cluster.find("pods", JOBSET_LABEL)}
        self.restarts = max(self.restarts, *(one.get("status", {}).get("restarts", 0) for one in cluster.find("jobsets")), 0)


@dataclass(frozen=True, slots=True)
class Team:
    """A namespace where steps may make TrainJobs, and a store with the inputs of a training."""

    cluster: Cluster
    place: Place
    steps: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(self) -> "subprocess.Popen[str]":
        self.steps.append(self.place.start(*ARGUMENTS, settings=SETTINGS))
        return self.steps[-1]

    def end(self, step: "subprocess.Popen[str]") -> tuple[Seen, str]:
        """Wait for the end of a step; gives what was there meanwhile, and what the step told."""
        seen, deadline_s = Seen(), time.monotonic() + LIMIT_S
        while step.poll() is None:
            assert time.monotonic() < deadline_s
            seen.look(self.cluster)
            time.sleep(_POLL_S)
        return seen, step.communicate()[1]

    def made(self, step: "subprocess.Popen[str]") -> Json:
        """Wait until a step has made its TrainJob."""

        def look() -> list[Json]:
            assert step.poll() is None, step.communicate()[1]
            return self.cluster.find("trainjobs")

        (job,) = self.cluster.wait_until(look, "TrainJob", LIMIT_S)
        return dict(job)

    def trained(self, step: "subprocess.Popen[str]") -> str:
        """Wait until the store lists a checkpoint of a step's training; gives its key."""
        key = str(self.made(step)["metadata"]["annotations"][KEY_LABEL])
        files = TrainingFiles(open_store(self.place.world.store), key)

        def look() -> object:
            assert step.poll() is None, step.communicate()[1]
            return files.checkpoints()

        self.cluster.wait_until(look, "checkpoint", LIMIT_S)
        return key

    def launcher(self, key: str, rank: int) -> int:
        """The process, as this machine numbers it, that is the first one of a worker's pod."""
        (found,) = (pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_launcher(pid, key, rank))
        return found


def _is_launcher(pid: int, key: str, rank: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it ended meanwhile
        return False
    return words[1:5] == [b"-m", b"reelspace.train", b"--job-from-store", key.encode()] and f"PET_NODE_RANK={rank}".encode() in variables


@pytest.fixture(scope="module")
def alone(shared_node: RealNode, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, float]]:
    """The losses of the same training by two processes of this machine."""
    place = Place.make(tmp_path_factory.mktemp("alone"))
    code, told = place.run(*ARGUMENTS, settings=SETTINGS)
    assert code == 0, told
    return logged(place.artifact("teacher"))


@pytest.fixture(scope="module")
def train_image(shared_node: RealNode, tmp_path_factory: pytest.TempPathFactory) -> None:
    shared_node.load(write_train_image(tmp_path_factory.mktemp("image")))


@pytest.fixture
def team(
    real_operators: RealNode, train_image: None, pod_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Team]:
    cluster = real_operators.cluster
    keys = pod_store.environment()
    secret = {name: value for name, value in keys.items() if name.startswith("AWS_")}
    cluster.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": STORE_SECRET}, "stringData": secret},
        runtime(TRAIN_IMAGE),
    )
    place = {**CLUSTER, "namespace": cluster.namespace, "api": step_account(cluster, tmp_path), "task_config": mounted_task()}
    for name, value in {**keys, "REELSPACE_TRAIN_JOB": json.dumps(place)}.items():
        monkeypatch.setenv(name, value)
    team = Team(cluster, Place.make(tmp_path, f"s3://{pod_store.make_bucket()}/some/prefix"))
    yield team
    for step in team.steps:
        step.kill()
        step.wait()


def events(told: str, name: str) -> list[Json]:
    rows = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    return [row for row in rows if row["event"] == name]


def resumed_at(told: str) -> list[int]:
    """The steps from which the first pods of a training's gangs went on."""
    return [row["step"] for row in events(told, "resumed")]


def assert_trained(team: Team, alone: list[tuple[int, float]]) -> None:
    """The teacher is whole, was trained to the losses of two local processes, and nothing of the TrainJob is left."""
    teacher = team.place.artifact("teacher")
    assert set(teacher.names()) >= FILES
    assert [number for number, _ in logged(teacher)] == list(range(1, STEPS + 1))
    assert logged(teacher) == alone
    assert not list(teacher.store.list(f"runs/{teacher.run_facts()['key']}/state/"))
    team.cluster.wait_until(lambda: not team.cluster.find("trainjobs") and not team.cluster.find("pods"), "end of the TrainJob")


def test_a_killed_worker_makes_the_gang_begin_anew_from_its_checkpoint_and_end_with_the_same_figures(
    team: Team, alone: list[tuple[int, float]]
) -> None:
    step = team.start()
    os.kill(team.launcher(team.trained(step), rank=1), signal.SIGKILL)
    seen, told = team.end(step)
    assert step.returncode == 0, told
    assert (len(seen.train_jobs), len(seen.pods), seen.restarts) == (1, 4, 1), told
    assert len(resumed_at(told)) == 1
    assert 0 < resumed_at(told)[0] < STEPS
    assert_trained(team, alone)


def test_a_killed_step_that_runs_again_adopts_its_train_job_whose_pods_train_on(team: Team, alone: list[tuple[int, float]]) -> None:
    first = team.start()
    made = team.made(first)
    # Before its pods have even loaded: the next try needs its time, too, and must find them at work.
    first.kill()
    first.wait()
    second = team.start()
    seen, told = team.end(second)
    assert second.returncode == 0, told
    assert events(told, "train_job_adopted"), told
    assert (seen.train_jobs, len(seen.pods), seen.restarts) == ({made["metadata"]["uid"]}, 2, 0), told
    assert resumed_at(told) == []
    assert_trained(team, alone)


def test_a_stopped_step_lets_its_pods_save_and_the_next_try_goes_on_with_the_same_train_job(
    team: Team, alone: list[tuple[int, float]]
) -> None:
    first = team.start()
    team.trained(first)
    first.terminate()
    before, told = team.end(first)
    assert first.returncode == 75, told
    assert "is stopped, its pods have saved; run again to go on" in told
    assert not team.cluster.pods(JOBSET_LABEL, "Running")
    second = team.start()
    seen, told = team.end(second)
    assert second.returncode == 0, told
    assert (len(before.train_jobs | seen.train_jobs), len(before.pods | seen.pods), seen.restarts) == (1, 4, 0), told
    assert len(resumed_at(told)) == 1
    assert_trained(team, alone)


def test_an_input_that_is_gone_ends_the_step_with_the_words_of_the_pod_and_without_a_restart(team: Team) -> None:
    world = team.place.world
    store = open_store(world.store)
    for key in [key for key in store.list(f"artifacts/{world.shards}/") if not key.endswith(".json")]:
        store.delete(key)
    step = team.start()
    seen, told = team.end(step)
    assert step.returncode == 2, told
    assert "it is gone from the store; make the artifact again" in told
    assert (len(seen.train_jobs), seen.restarts) == (1, 0)
