"""What a step makes of a TrainJob's end: the words that its machines left in the store decide, not the pods."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from reelspace.core.errors import CorruptArtifact, InternalError, PlaceRefused, TemporaryError, UserError
from reelspace.core.steps import StepRun
from reelspace.core.store import open_store
from reelspace.steps.train_job import run_train_job
from reelspace.train.cluster.settings import ClusterSettings
from reelspace.train.cluster.training_files import TrainingFiles
from reelspace.train.job import TrainJob
from reelspace.train.roster import Ending
from reelspace.train.settings import TrainSettings
from tests.unit.train.cluster.fake_cluster import JOBS, NAMESPACE, FakeCluster, Fault

KEY = "d" * 64
SUMMARY = {"steps": 3, "loss": 0.5}


@dataclass
class Step:
    """A try of the step pretrain under KEY on a cluster whose controllers are told what to do."""

    cluster: FakeCluster
    url: str
    root: Path

    @property
    def files(self) -> TrainingFiles:
        return TrainingFiles(open_store(str(self.root / "store")), KEY)

    def run(self, **changes: Any) -> dict[str, Any]:
        out = self.root / "out"
        out.mkdir(exist_ok=True)
        given = {"kind": "pretrain", "store": str(self.root), "shards": "e" * 64, "labels": self.root, "out": out}
        job = TrainJob.model_validate({**given, "pretrain": TrainSettings(batch_size=16)})
        mounts = [{"name": "data", "mountPath": str(self.root)}]
        place = {"image": "one", "namespace": NAMESPACE, "api": {"url": self.url}, "task_config": {"volume_mounts": mounts}}
        run = StepRun(self.files.store, "pretrain", KEY, {"labels": _Artifact("f" * 64)}, self.root, self.root)  # type: ignore[dict-item]
        return dict(run_train_job(run, job, ClusterSettings.model_validate({**place, **changes})))

    def write_model(self) -> None:
        made = self.root / "made"
        made.mkdir(exist_ok=True)
        (made / "summary.json").write_text(json.dumps(SUMMARY))
        self.files.write_outputs(made)

    def ends(self, how: Callable[[str], None]) -> None:
        """Let the controllers and the pods do this, in their own time, with every TrainJob that is made."""
        self.cluster.on_change = lambda name: threading.Timer(0.05, how, [name]).start()


@dataclass(frozen=True)
class _Artifact:
    id: str


@pytest.fixture
def step(tmp_path: Path) -> Iterator[Step]:
    cluster = FakeCluster()
    with cluster.serving() as url:
        yield Step(cluster, url, tmp_path)


def test_a_model_in_the_store_is_taken_and_the_train_job_goes(step: Step):
    def end(name: str) -> None:
        job = step.files.read_job()
        assert (job.shards, job.labels, job.pretrain and job.pretrain.batch_size) == ("e" * 64, "f" * 64, 16)
        step.write_model()
        step.files.end(0, Ending(0))
        step.cluster.set_condition(name, "Complete")

    step.ends(end)
    assert step.run() == SUMMARY
    assert step.cluster.jobs == {}


def test_a_model_that_an_earlier_try_left_is_taken_and_nothing_is_made(step: Step):
    step.write_model()
    assert step.run() == SUMMARY
    assert ("POST", JOBS) not in step.cluster.requests


def test_a_train_job_whose_step_was_killed_after_its_pods_had_trained_goes_with_the_next_try(step: Step):
    step.ends(failed(step, {}))
    with pytest.raises(TemporaryError):
        step.run()
    (name,) = step.cluster.jobs
    step.cluster.put("other", {"metadata": {"name": "other", "labels": {"reelspace.io/key": "0" * 63}}})
    step.cluster.set_condition(name, "Complete")
    step.write_model()
    assert step.run() == SUMMARY
    assert list(step.cluster.jobs) == ["other"]


@pytest.mark.parametrize("status", [403, 503])
def test_a_cluster_that_is_away_keeps_no_step_from_a_model_that_is_there(step: Step, status: int, capsys: pytest.CaptureFixture[str]):
    step.cluster.faults = [Fault("GET", JOBS, status, times=100)]
    step.write_model()
    assert step.run() == SUMMARY
    assert "train_job_left" in capsys.readouterr().err


def test_a_damaged_model_is_told_and_the_next_try_trains_on(step: Step):
    step.write_model()
    step.files.store.put(f"runs/{KEY}/state/training/outputs/summary.json", b"{}")
    with pytest.raises(CorruptArtifact, match=r"summary\.json"):
        step.run()
    assert not step.files.has_outputs()


def failed(step: Step, endings: dict[int, Ending], reason: str = "JobSetFailed") -> Callable[[str], None]:
    def end(name: str) -> None:
        for machine, ending in endings.items():
            step.files.end(machine, ending)
        step.cluster.set_condition(name, "Failed", reason, "jobset failed")

    return end


@pytest.mark.parametrize(
    ("endings", "expected", "says"),
    [
        # The other machine met the cause, the first one only its loss.
        ({0: Ending(75, "TemporaryError", "lost"), 1: Ending(2, "UserError", "no such model")}, UserError, "no such model"),
        ({0: Ending(75, "DiskFull", "the disk is full")}, TemporaryError, "the disk is full"),
        ({0: Ending(70, "InternalError", "a bug")}, InternalError, "a bug"),
        # Machine 7 is of an earlier training of the key, with more machines.
        ({7: Ending(2, "UserError", "old")}, TemporaryError, "failed and left no word: JobSetFailed: jobset failed"),
    ],
)
def test_a_failed_train_job_ends_the_step_as_its_machines_ended(
    step: Step, endings: dict[int, Ending], expected: type[Exception], says: str
):
    if 7 in endings:
        step.files.end(7, endings.pop(7))
    step.ends(failed(step, endings))
    with pytest.raises(expected, match=says) as caught:
        step.run(num_nodes=2)
    assert type(caught.value).__name__ in {"UserError", "DiskFull", "InternalError", "TemporaryError"}
    # It stays for whoever looks into it.
    assert len(step.cluster.jobs) == 1


def test_a_runtime_that_is_not_supported_is_a_fault_of_the_place(step: Step):
    step.ends(failed(step, {}, "TrainingRuntimeNotSupported"))
    with pytest.raises(PlaceRefused, match="TrainingRuntimeNotSupported"):
        step.run()


def test_a_train_job_that_somebody_deletes_is_a_temporary_error(step: Step):
    step.ends(step.cluster.remove)
    with pytest.raises(TemporaryError, match="was deleted by someone else; run again"):
        step.run()


def test_a_complete_train_job_without_a_model_is_no_success(step: Step):
    step.ends(lambda name: step.cluster.set_condition(name, "Complete"))
    with pytest.raises(TemporaryError, match="is complete, and its model is not in the store"):
        step.run()


def test_a_batch_that_does_not_fit_the_pods_is_refused_before_anything_is_made_and_not_remembered(step: Step):
    with pytest.raises(PlaceRefused, match="batch_size is 16, expected a multiple of num_processes = 3"):
        step.run(num_nodes=3)
    assert step.cluster.requests == []


def test_every_change_of_state_is_told_once(step: Step, capsys: pytest.CaptureFixture[str]):
    def end(name: str) -> None:
        step.cluster.set_condition(name, "Suspended")
        step.cluster.put(name, step.cluster.jobs[name])
        step.cluster.set_condition(name, "Suspended", status="False")
        step.write_model()
        step.cluster.set_condition(name, "Complete")

    step.ends(end)
    step.run()
    states = [row["state"] for row in map(json.loads, capsys.readouterr().err.splitlines()) if row["event"] == "train_job"]
    assert states[-1] == "Complete"
    assert states.count("Suspended") <= 1
    assert all(before != after for before, after in pairwise(states))
    assert ("POST", JOBS) in step.cluster.requests
