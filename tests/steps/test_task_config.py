"""What Kubeflow Pipelines says of a task reaches the pods of its training: from kfp's executor through the component to the TrainJob."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp.dsl.executor import Executor

from components.pretrain.component import pretrain
from reelspace.core.errors import TemporaryError
from tests.steps.training_steps import PRETRAIN, Place
from tests.unit.train.cluster.fake_cluster import NAMESPACE, FakeCluster
from tests.unit.train.cluster.test_manifest import assert_valid, pod_of

RESOURCES = {"limits": {"nvidia.com/gpu": "8", "memory": "512Gi"}, "requests": {"cpu": "64", "memory": "512Gi"}}
PLATFORM_RESOURCES = {"limits": {"cpu": "1"}}
TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


def task_config(mounted: Path) -> dict[str, Any]:
    """As the backend's driver writes it (kubeflow/pipelines, backend/src/v2/driver/driver.go): what was not asked for is null or {}."""
    return {
        "affinity": None,
        "tolerations": [TOLERATION],
        "nodeSelector": {"pool": "gpu"},
        "env": [{"name": "REELSPACE_TRAIN_JOB", "value": "{}"}, {"name": "NCCL_DEBUG", "value": "INFO"}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        "volumeMounts": [{"name": "data", "mountPath": str(mounted)}],
        "resources": RESOURCES,
    }


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    """A cluster that takes TrainJobs and ends each badly, so that the step ends; its platform asks for one core and mounts a claim."""
    cluster = FakeCluster()
    cluster.on_change = lambda name: threading.Timer(0.05, cluster.set_condition, [name, "Failed"]).start()
    mounts = [{"name": "platform", "mountPath": str(tmp_path)}]
    says = {"resources": PLATFORM_RESOURCES, "volume_mounts": mounts, "volumes": [{"name": "platform", "emptyDir": {}}]}
    with cluster.serving() as url:
        place = {"image": "one", "namespace": NAMESPACE, "api": {"url": url}, "task_config": says}
        monkeypatch.setenv("REELSPACE_TRAIN_JOB", json.dumps(place))
        yield cluster


def run_component(place: Place, given: dict[str, Any]) -> None:
    """Run pretrain as kfp's executor does in a pod."""
    artifacts = {name: {"artifacts": [{"name": name, "uri": str(place.manifest(name))}]} for name in ("shards", "labels", "teacher")}
    document = {
        "inputs": {
            "parameterValues": {"settings": PRETRAIN.model_dump_json(), **given},
            "artifacts": {name: artifacts[name] for name in ("shards", "labels")},
        },
        "outputs": {"artifacts": {"teacher": artifacts["teacher"]}, "outputFile": str(place.root / "output.json")},
    }
    Executor(executor_input=document, function_to_execute=pretrain.python_func).execute()


def test_what_is_asked_of_the_task_reaches_its_train_job(cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = Place.make(tmp_path)
    monkeypatch.setenv("REELSPACE_STORE", place.world.store)
    affinity = {"nodeAffinity": {}}
    monkeypatch.setenv("REELSPACE_TASK_CONFIG", json.dumps({"node_selector": {"pool": "other"}, "affinity": affinity}))
    with pytest.raises(TemporaryError, match="failed and left no word"):
        run_component(place, {"task": task_config(tmp_path)})
    (job,) = cluster.jobs.values()
    assert_valid({key: value for key, value in job.items() if key != "status"}, "TrainerV1alpha1TrainJob")
    pod, trainer = pod_of(job), job["spec"]["trainer"]
    assert trainer["resourcesPerNode"] == RESOURCES
    assert (pod["tolerations"], pod["nodeSelector"], pod["affinity"]) == ([TOLERATION], {"pool": "gpu"}, affinity)
    assert [one["name"] for one in pod["volumes"]] == ["data", "shm"]
    env = {one["name"]: one.get("value") for one in trainer["env"]}
    assert env["NCCL_DEBUG"] == "INFO"
    assert "REELSPACE_TRAIN_JOB" not in env


@pytest.mark.parametrize(
    "given", [{}, {"task": {**dict.fromkeys(task_config(Path("unused"))), "resources": {}}}], ids=["left out", "empty"]
)
def test_a_task_of_which_nothing_is_said_leaves_what_the_platform_says(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
):
    # Left out: as kfp's local runner and Argo call it; empty: as the driver writes a task of which nothing was asked.
    place = Place.make(tmp_path)
    monkeypatch.setenv("REELSPACE_STORE", place.world.store)
    with pytest.raises(TemporaryError, match="failed and left no word"):
        run_component(place, given)
    (job,) = cluster.jobs.values()
    assert job["spec"]["trainer"]["resourcesPerNode"] == PLATFORM_RESOURCES
    assert "tolerations" not in pod_of(job)
