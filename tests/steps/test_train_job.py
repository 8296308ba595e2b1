"""The step pretrain in a pod of a TrainJob: a stand-in for the cluster starts what the TrainJob says as a process of its own."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.steps.training_steps import FILES, LIMIT_S, PRETRAIN, Place, logged
from tests.unit.train.cluster.fake_cluster import NAMESPACE, FakeCluster, until

ARGUMENTS = ("pretrain", "shards", "labels", "teacher")
SETTINGS = PRETRAIN.model_dump(mode="json")


@dataclass
class Pods:
    """Runs the one pod of a TrainJob, and ends it when the TrainJob is suspended, as the controllers do."""

    cluster: FakeCluster
    scratch: Path
    processes: list["subprocess.Popen[str]"] = field(default_factory=list)

    def reconcile(self, name: str) -> None:
        job = self.cluster.jobs[name]
        if job["spec"]["suspend"]:
            self.processes[-1].terminate()
        else:
            threading.Thread(target=self._run, args=(name, job["spec"]["trainer"])).start()

    def _run(self, name: str, trainer: dict[str, Any]) -> None:
        uid = f"pod{len(self.processes)}"
        environment = {entry["name"]: entry.get("value") or _secret(entry) for entry in trainer["env"]}
        environment |= {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *trainer["command"][1:-1], str(self.scratch / uid)]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        self.cluster.add_pod(name, uid)
        assert process.stderr
        for line in process.stderr:
            self.cluster.say(name, uid, line.rstrip("\n"))
        code = process.wait()
        self.cluster.end_pod(uid, "Failed" if code else "Succeeded")
        if not self.cluster.jobs[name]["spec"]["suspend"]:
            self.cluster.set_condition(name, "Failed" if code else "Complete")


def _secret(entry: dict[str, Any]) -> str:
    return os.environ[entry["valueFrom"]["secretKeyRef"]["key"]]


@pytest.fixture
def pods(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pods]:
    cluster = FakeCluster()
    pods = Pods(cluster, tmp_path / "pods")
    cluster.on_change = pods.reconcile
    with cluster.serving() as url:
        place = f'{{"image": "one", "namespace": "{NAMESPACE}", "store_secret": "store", "api": {{"url": "{url}"}}, "stop_grace_s": 60}}'
        monkeypatch.setenv("REELSPACE_TRAIN_JOB", place)
        yield pods
    for process in pods.processes:
        process.kill()
        process.wait()


@pytest.mark.long
def test_a_stopped_step_lets_its_pod_save_the_next_try_goes_on_in_a_new_pod_and_on_this_machine_the_result_is_known(
    pods: Pods, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = Place.make(tmp_path, s3_url)
    slow = {**SETTINGS, "steps": 40, "checkpoint_every": 5}
    step = place.start(*ARGUMENTS, settings=slow)
    until(lambda: any('"progress"' in line for log in pods.cluster.logs.values() for line in log) or step.poll() is not None, LIMIT_S)
    step.terminate()
    _, told = step.communicate(timeout=LIMIT_S)
    assert step.returncode == 75, told
    assert "is stopped, its pods have saved; run again to go on" in told
    assert [process.returncode for process in pods.processes] == [75]
    code, told = place.run(*ARGUMENTS, settings=slow)
    assert code == 0, told
    assert '"train_job_adopted"' in told
    # The pod's own words are shown by the step.
    assert '"resumed"' in told
    teacher = place.artifact("teacher")
    assert set(teacher.names()) >= FILES
    assert [number for number, _ in logged(teacher)] == list(range(1, 41))
    assert pods.cluster.jobs == {}
    assert [process.returncode for process in pods.processes] == [75, 0]
    assert not list(teacher.store.list(f"runs/{teacher.run_facts()['key']}/state/"))
    monkeypatch.delenv("REELSPACE_TRAIN_JOB")
    code, told = place.run(*ARGUMENTS, settings=slow)
    assert code == 0, told
    assert '"reused": true' in told
