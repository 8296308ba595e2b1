"""The TrainJob of a training, as data (Kubeflow Trainer 2, trainer.kubeflow.org/v1alpha1)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from reelspace.core.artifacts import canonical_json
from reelspace.core.errors import PlaceRefused
from reelspace.core.local_store import LocalStore
from reelspace.core.steps import RUN_ID_VARIABLE, STORE_VARIABLE, SUPERVISOR_VARIABLE
from reelspace.core.store import Store
from reelspace.train.cluster.runtime import CONTAINER, REPLICATED_JOB, SCRATCH
from reelspace.train.cluster.settings import CLUSTER_VARIABLE, TASK_CONFIG_VARIABLE, ClusterSettings, TaskConfig

API_VERSION = "trainer.kubeflow.org/v1alpha1"
KEY_LABEL = "reelspace.io/key"
DIGEST_ANNOTATION = "reelspace.io/digest"
STOPPED_ANNOTATION = "reelspace.io/stopped"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_MANAGER = "reelspace.io/step"
_SHM = "/dev/shm"
_LABEL_LENGTH = 63
_PASSED = ("REELSPACE_S3_ENDPOINT", "AWS_REGION", "AWS_DEFAULT_REGION")
_OF_THE_STEP = frozenset({CLUSTER_VARIABLE, TASK_CONFIG_VARIABLE, RUN_ID_VARIABLE, SUPERVISOR_VARIABLE, STORE_VARIABLE})
_SECRET = frozenset({"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MLFLOW_TRACKING_TOKEN"})
_STORE_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@dataclass(frozen=True, slots=True)
class Training:
    """What a TrainJob trains: the step and its key, the store that describes it, and directories outside of the store that it reads."""

    step: str
    key: str
    store: Store
    num_processes: int
    directories: Sequence[str] = ()


def train_job(training: Training, cluster: ClusterSettings, namespace: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """Render the TrainJob of a training; equal inputs give equal bytes, and the name follows from the step key and all that is asked.

    Args:
        variables: the step's own environment, of which the address and region of the store are passed on.

    Raises:
        PlaceRefused: the pods could not reach the store or a directory, or a variable of theirs is Trainer's own or a secret in plain text.
    """
    config = cluster.task_config
    _check_directories(training, config)
    spec: dict[str, Any] = {
        "runtimeRef": {"apiGroup": API_VERSION.partition("/")[0], "kind": "ClusterTrainingRuntime", "name": cluster.runtime},
        "trainer": {
            "image": cluster.image,
            "command": ["python", "-m", "reelspace.train", "--job-from-store", training.key, "--scratch", f"{SCRATCH}/training"],
            "env": _environment(training, cluster, variables),
            "numNodes": cluster.num_nodes,
            "numProcPerNode": training.num_processes,
            **({"resourcesPerNode": config.resources} if config.resources else {}),
        },
        "runtimePatches": [{"manager": _MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [_patch(cluster)]}}}}],
        **({"activeDeadlineSeconds": cluster.deadline_s} if cluster.deadline_s else {}),
    }
    labels = {"app.kubernetes.io/managed-by": "reelspace", KEY_LABEL: label_of(training.key)}
    labels |= {QUEUE_LABEL: cluster.queue} if cluster.queue else {}
    digest = hashlib.sha256(canonical_json({"spec": spec, "labels": labels})).hexdigest()
    metadata = {
        "name": f"reelspace-{training.step}-{training.key[:8]}-{digest[:8]}",
        "namespace": namespace,
        "labels": labels,
        "annotations": {KEY_LABEL: training.key, DIGEST_ANNOTATION: digest},
    }
    return {"apiVersion": API_VERSION, "kind": "TrainJob", "metadata": metadata, "spec": {**spec, "suspend": False}}


def label_of(key: str) -> str:
    """Give what the label of a TrainJob holds of a step key: a label's value is too short for the whole."""
    return key[:_LABEL_LENGTH]


def _environment(training: Training, cluster: ClusterSettings, variables: Mapping[str, str]) -> list[dict[str, Any]]:
    """Give the variables of the training's container: ours first, those of the platform over them."""
    ours: dict[str, dict[str, Any]] = {name: {"name": name, "value": variables[name]} for name in _PASSED if variables.get(name)}
    if cluster.store_secret:
        ours |= {name: {"name": name, "valueFrom": {"secretKeyRef": {"name": cluster.store_secret, "key": name}}} for name in _STORE_KEYS}
    for entry in cluster.task_config.env or ():
        name = str(entry.get("name", ""))
        if name.startswith("PET_"):
            raise PlaceRefused(f"task_config.env sets {name}, which Kubeflow Trainer sets itself: leave it out")
        if name in _SECRET and "value" in entry:
            raise PlaceRefused(f"task_config.env has {name} in plain text, expected valueFrom with a secretKeyRef")
        if name not in _OF_THE_STEP:
            ours[name] = dict(entry)
    if not isinstance(training.store, LocalStore) and not all(name in ours for name in _STORE_KEYS):
        raise PlaceRefused(f"the pods have no keys of the store {training.store.url}: set store_secret, or both in task_config.env")
    return [{"name": STORE_VARIABLE, "value": training.store.url}, *ours.values()]


def _patch(cluster: ClusterSettings) -> dict[str, Any]:
    """Give what this training's pods have beside what the runtime says."""
    config = cluster.task_config
    volumes, mounts = [dict(volume) for volume in config.volumes or ()], [dict(mount) for mount in config.volume_mounts or ()]
    if cluster.shm and _SHM not in [mount.get("mountPath") for mount in mounts]:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": cluster.shm}})
        mounts.append({"name": "shm", "mountPath": _SHM})
    parts: dict[str, Any] = {
        "serviceAccountName": cluster.service_account,
        "imagePullSecrets": [{"name": name} for name in cluster.image_pull_secrets],
        "affinity": config.affinity,
        "tolerations": [dict(toleration) for toleration in config.tolerations or ()],
        "nodeSelector": config.node_selector,
        "volumes": volumes,
        "containers": [{"name": CONTAINER, "volumeMounts": mounts}] if mounts else [],
    }
    return {"name": REPLICATED_JOB, "template": {"spec": {"template": {"spec": {name: part for name, part in parts.items() if part}}}}}


def _check_directories(training: Training, config: TaskConfig) -> None:
    """See that what lies in a directory of the step's own machine is mounted in the pods."""
    wanted = [*training.directories, *([str(training.store.root)] if isinstance(training.store, LocalStore) else [])]
    mounted = [PurePosixPath(str(mount.get("mountPath"))) for mount in config.volume_mounts or ()]
    for directory in wanted:
        if not any(Path(directory).absolute().is_relative_to(place) for place in mounted):
            raise PlaceRefused(
                f"the pods have no directory {directory}: mount a volume there that all machines share, in task_config.volume_mounts, "
                "or use a store on S3"
            )
