"""TrainJob and runtime as data: valid by Kubeflow's own models, equal for equal questions, and with all that the platform asks."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reelspace.core.errors import PlaceRefused
from reelspace.core.s3_store import S3Place, S3Store
from reelspace.core.store import Store, open_store
from reelspace.train.cluster.manifest import Training, train_job
from reelspace.train.cluster.runtime import role, runtime
from reelspace.train.cluster.settings import cluster_settings

KEY = "0123456789abcdef" * 4
SECRET = {"name": "AWS_SESSION_TOKEN", "valueFrom": {"secretKeyRef": {"name": "store", "key": "token"}}}
# As kfp hands it on: `dataclasses.asdict` of a dsl.TaskConfig.
TASK_CONFIG: dict[str, Any] = {
    "affinity": None,
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "node_selector": {"pool": "gpu"},
    "env": [SECRET, {"name": "REELSPACE_RUN_ID", "value": "one"}],
    "volumes": [{"name": "fast", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}],
    "volume_mounts": [{"name": "fast", "mountPath": "/dev/shm"}],
    "resources": {"limits": {"nvidia.com/gpu": "8", "memory": "64Gi"}, "requests": {"cpu": "8", "memory": "64Gi"}},
}
CLUSTER = {"image": "registry/train@sha256:1", "num_nodes": 4, "store_secret": "store"}


def s3() -> Store:
    return S3Store(S3Place("http://127.0.0.1:9", "bucket", "", "key", "secret"))


def rendered(cluster: dict[str, Any], task_config: dict[str, Any] | None = None, store: Store | None = None, **training: Any) -> Any:
    variables = {"REELSPACE_TRAIN_JOB": json.dumps(cluster), "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "here"}
    variables |= {"REELSPACE_TASK_CONFIG": json.dumps(task_config)} if task_config else {}
    settings = cluster_settings(variables)
    assert settings is not None
    about = {"step": "pretrain", "key": KEY, "store": store or s3(), "num_processes": 8, **training}
    return train_job(Training(**about), settings, "team", variables)


def pod_of(job: Any) -> Any:
    (patch,) = job["spec"]["runtimePatches"]
    (replicated,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert replicated["name"] == "node"
    return replicated["template"]["spec"]["template"]["spec"]


def assert_valid(value: dict[str, Any], model: str) -> None:
    models = pytest.importorskip("kubeflow_trainer_api.models", reason="kubeflow-trainer-api is not installed: `make install`")
    parsed = getattr(models, model).from_dict(copy.deepcopy(value))
    # What the models do not know they drop.
    assert json.loads(parsed.to_json()) == value


def test_the_train_job_and_the_runtime_are_what_kubeflow_trainer_reads():
    assert_valid(rendered(CLUSTER, TASK_CONFIG), "TrainerV1alpha1TrainJob")
    assert_valid(rendered({"image": "one", "store_secret": "s", "queue": "gpus", "deadline_s": 60}), "TrainerV1alpha1TrainJob")
    assert_valid(runtime("one"), "TrainerV1alpha1ClusterTrainingRuntime")


def test_the_validation_finds_a_field_that_kubeflow_trainer_does_not_know():
    pytest.importorskip("kubeflow_trainer_api.models", reason="kubeflow-trainer-api is not installed: `make install`")
    job = rendered(CLUSTER)
    job["spec"]["podSpecOverrides"] = []
    with pytest.raises(AssertionError):
        assert_valid(job, "TrainerV1alpha1TrainJob")


def test_what_the_platform_says_of_the_task_reaches_the_pods():
    job = rendered(CLUSTER, TASK_CONFIG)
    trainer, pod = job["spec"]["trainer"], pod_of(job)
    assert (trainer["numNodes"], trainer["numProcPerNode"], trainer["image"]) == (4, 8, "registry/train@sha256:1")
    assert trainer["resourcesPerNode"] == TASK_CONFIG["resources"]
    assert pod["tolerations"] == TASK_CONFIG["tolerations"]
    assert pod["nodeSelector"] == {"pool": "gpu"}
    # The task's own /dev/shm is the only one.
    assert pod["volumes"] == TASK_CONFIG["volumes"]
    assert pod["containers"] == [{"name": "node", "volumeMounts": TASK_CONFIG["volume_mounts"]}]
    env = {entry["name"]: entry for entry in trainer["env"]}
    assert env["REELSPACE_STORE"]["value"] == "s3://bucket"
    assert env["AWS_REGION"]["value"] == "here"
    assert env["AWS_SESSION_TOKEN"] == SECRET
    assert env["AWS_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"] == {"name": "store", "key": "AWS_SECRET_ACCESS_KEY"}
    assert "REELSPACE_RUN_ID" not in env
    assert '"secret"' not in json.dumps(job)


def test_a_training_has_shared_memory_unless_it_is_told_otherwise():
    assert pod_of(rendered(CLUSTER))["volumes"] == [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}}]
    assert "volumes" not in pod_of(rendered({**CLUSTER, "shm": None}))


def test_the_name_is_of_the_key_and_of_all_that_is_asked():
    name = rendered(CLUSTER)["metadata"]["name"]
    assert json.dumps(rendered(CLUSTER)) == json.dumps(rendered(CLUSTER))
    assert name.startswith(f"reelspace-pretrain-{KEY[:8]}-")
    # A pod's name adds `-node-0-<n>-<5 letters>` and must stay below 64 letters.
    assert len(name) < 40
    others = [rendered({**CLUSTER, **change})["metadata"]["name"] for change in ({"num_nodes": 2}, {"image": "two"}, {"queue": "q"})]
    others += [rendered(CLUSTER, key="f" * 64)["metadata"]["name"], rendered(CLUSTER, TASK_CONFIG)["metadata"]["name"]]
    assert len({name, *others}) == 6


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"name": "PET_NNODES", "value": "2"}, "sets PET_NNODES, which Kubeflow Trainer sets itself"),
        ({"name": "AWS_SECRET_ACCESS_KEY", "value": "words"}, "AWS_SECRET_ACCESS_KEY in plain text, expected valueFrom"),
    ],
)
def test_variables_that_would_break_or_leak_are_refused(env: dict[str, str], says: str):
    with pytest.raises(PlaceRefused, match=says):
        rendered(CLUSTER, {"env": [env]})


def test_pods_that_could_not_open_the_store_or_a_directory_are_refused(tmp_path: Path):
    with pytest.raises(PlaceRefused, match="no keys of the store s3://bucket: set store_secret"):
        rendered({"image": "one"})
    store = open_store(str(tmp_path / "store"))
    with pytest.raises(PlaceRefused, match=f"no directory {tmp_path}/store: mount a volume there"):
        rendered({"image": "one"}, store=store)
    mounted = {"volumes": [], "volume_mounts": [{"name": "data", "mountPath": str(tmp_path)}]}
    assert rendered({"image": "one"}, mounted, store=store, directories=[f"{tmp_path}/public"])
    with pytest.raises(PlaceRefused, match="no directory /models/vit"):
        rendered({"image": "one"}, mounted, store=store, directories=["/models/vit"])


@pytest.mark.parametrize(
    "text", ['{"image": "a", "num_node": 2}', '{"image": "a", "num_nodes": 0}', "{}", "not JSON", '{"image": "a", "shm": "2 GB"}']
)
def test_wrong_settings_of_the_place_are_refused_and_not_remembered_for_the_key(text: str):
    with pytest.raises(PlaceRefused, match="REELSPACE_TRAIN_JOB"):
        cluster_settings({"REELSPACE_TRAIN_JOB": text})
    assert not PlaceRefused.permanent


def test_without_a_cluster_trainings_stay_on_this_machine():
    assert cluster_settings({"REELSPACE_TASK_CONFIG": "{}"}) is None


def test_the_runtime_ends_at_a_wrong_input_and_restarts_all_pods_at_anything_else():
    spec = runtime("one")["spec"]["template"]["spec"]
    (job,) = spec["replicatedJobs"]
    (rule,) = job["template"]["spec"]["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [2])
    (end,) = spec["failurePolicy"]["rules"]
    assert (end["action"], end["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    assert spec["failurePolicy"]["maxRestarts"] > 0
    assert job["template"]["spec"]["backoffLimit"] == 0


def test_runtime_and_role_are_printed_as_one_list_that_kubectl_takes():
    command = [sys.executable, "-m", "reelspace.train.cluster.runtime", "registry/train@sha256:1", "--namespace", "team"]
    printed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert printed == {"apiVersion": "v1", "kind": "List", "items": [runtime("registry/train@sha256:1"), role("team")]}
