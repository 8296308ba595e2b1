"""Kubeflow Trainer and JobSet: a TrainJob becomes a gang of pods on fake GPU nodes, which lives and dies as one."""

import json

import pytest

from .control_plane import Cluster, Json
from .fake_nodes import GPU, TOLERATIONS, finish
from .operators import JOBSET_LABEL, TRAINER_API
from .tools import data_folder

pytestmark = pytest.mark.cluster

NUM_PODS = 4
GPUS = 8
OF_JOB = f"{JOBSET_LABEL}=gang"


def runtime(name: str, max_restarts: int) -> Json:
    """A namespaced TrainingRuntime for torch."""
    pod = {"tolerations": TOLERATIONS, "containers": [{"name": "node", "image": "localhost/train:test"}]}
    job = {
        "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }
    jobset = {"failurePolicy": {"maxRestarts": max_restarts}, "replicatedJobs": [{"name": "node", "template": job}]}
    return {
        "apiVersion": TRAINER_API,
        "kind": "TrainingRuntime",
        "metadata": {"name": name, "labels": {"trainer.kubeflow.org/framework": "torch"}},
        "spec": {"mlPolicy": {"numNodes": 1, "torch": {}}, "template": {"spec": jobset}},
    }


def train_job(name: str, runtime_name: str, kind: str = "TrainingRuntime") -> Json:
    trainer = {
        "numNodes": NUM_PODS,
        "numProcPerNode": GPUS,
        "command": ["torchrun", "train.py"],
        "resourcesPerNode": {"limits": {GPU: GPUS}},
    }
    spec = {"runtimeRef": {"name": runtime_name, "kind": kind}, "trainer": trainer}
    return {"apiVersion": TRAINER_API, "kind": "TrainJob", "metadata": {"name": name}, "spec": spec}


def gang(operators: Cluster) -> list[Json] | None:
    """The running pods of the job, once all of them run."""
    pods = operators.pods(OF_JOB, "Running")
    return pods if len(pods) == NUM_PODS else None


def uids(pods: list[Json]) -> set[str]:
    return {pod["metadata"]["uid"] for pod in pods}


def test_a_train_job_expands_into_pods_that_know_each_other_and_completes(operators: Cluster) -> None:
    operators.apply(runtime("torch", max_restarts=0))
    operators.apply(train_job("gang", "torch"))
    pods = operators.wait_until(lambda: gang(operators), "gang")
    assert len({pod["spec"]["nodeName"] for pod in pods}) == NUM_PODS
    told = {one["name"]: one.get("value") for one in pods[0]["spec"]["containers"][0]["env"]}
    assert (told["PET_NNODES"], told["PET_NPROC_PER_NODE"], told["PET_MASTER_ADDR"]) == ("4", "8", "gang-node-0-0.gang")
    finish(operators, pods, 0)
    operators.kubectl("wait", "trainjob/gang", "--for=condition=Complete", "--timeout=60s")


def test_a_failed_pod_restarts_the_whole_gang(operators: Cluster) -> None:
    operators.apply(runtime("torch", max_restarts=2))
    operators.apply(train_job("gang", "torch"))
    before = operators.wait_until(lambda: gang(operators), "gang")
    finish(operators, before[2:3], 137)

    def others() -> list[Json] | None:
        pods = gang(operators)
        return pods if pods and not uids(pods) & uids(before) else None

    after = operators.wait_until(others, "new gang")
    assert operators.get("jobset", "gang")["status"]["restarts"] == 1
    finish(operators, after, 0)
    operators.kubectl("wait", "trainjob/gang", "--for=condition=Complete", "--timeout=60s")


def test_a_gang_out_of_restarts_fails(operators: Cluster) -> None:
    operators.apply(runtime("torch", max_restarts=0))
    operators.apply(train_job("gang", "torch"))
    finish(operators, operators.wait_until(lambda: gang(operators), "gang")[:1], 1)
    operators.kubectl("wait", "trainjob/gang", "--for=condition=Failed", "--timeout=60s")


def test_a_train_job_without_its_runtime_is_refused(operators: Cluster) -> None:
    assert "absent" in operators.refusal("apply", "-f", "-", stdin=json.dumps(train_job("lost", "absent")))


def test_the_runtime_for_torch_that_ships_with_the_trainer_loads(operators: Cluster) -> None:
    shipped = data_folder("trainer") / "manifests" / "runtimes" / "torch_distributed.yaml"
    operators.kubectl("apply", "-f", shipped)
    operators.apply(train_job("gang", "torch-distributed", "ClusterTrainingRuntime"))
    operators.wait_until(lambda: operators.exists("jobset", "gang"), "JobSet")
