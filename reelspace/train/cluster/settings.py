"""Where a training runs on a cluster: what the platform says about it. Nothing here is part of a step key."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, JsonValue

from reelspace.core.errors import PlaceRefused, SettingError
from reelspace.core.settings import Settings, read

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CLUSTER_VARIABLE = "REELSPACE_TRAIN_JOB"
TASK_CONFIG_VARIABLE = "REELSPACE_TASK_CONFIG"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"
_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_ADDRESS = r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$"

# A piece of a pod's specification in Kubernetes' own form, which we hand on as it is.
Fragment = dict[str, JsonValue]


class TaskConfig(Settings):
    """What kfp's `dsl.TaskConfig` hands to a component about its task; all is for the pods of the training."""

    affinity: Fragment | None = Field(None, description="Affinity of the pods.")
    tolerations: tuple[Fragment, ...] | None = Field(None, description="Tolerations of the pods.")
    node_selector: dict[str, str] | None = Field(None, description="Labels of the nodes that may run the pods.")
    env: tuple[Fragment, ...] | None = Field(None, description="Environment variables of the training's container.")
    volumes: tuple[Fragment, ...] | None = Field(None, description="Volumes of the pods.")
    volume_mounts: tuple[Fragment, ...] | None = Field(None, description="Where the training's container mounts them.")
    resources: Fragment | None = Field(None, description="Requests and limits of one pod.")


class ApiSettings(Settings):
    """How the Kubernetes API is reached from outside of a pod."""

    url: str = Field(pattern=_ADDRESS, description="http(s) address of the API server.")
    token_file: Path | None = Field(None, description="File with a bearer token; read anew for every request.")
    ca_file: Path | None = Field(None, description="PEM file of the authority that signed the server's certificate; None: the system's.")


class ClusterSettings(Settings):
    """A training as a Kubeflow TrainJob."""

    image: str = Field(min_length=1, max_length=500, description="Image of the training, by digest.")
    namespace: str | None = Field(None, pattern=_NAME, max_length=63, description="Namespace; None: that of the step's own pod.")
    runtime: str = Field("reelspace-train", pattern=_NAME, max_length=253, description="Name of the ClusterTrainingRuntime.")
    num_nodes: int = Field(1, ge=1, le=1024, description="Pods of the training.")
    num_processes: int | None = Field(None, ge=1, le=1024, description="Training processes in a pod; None: as the step's settings say.")
    queue: str | None = Field(None, pattern=_NAME, max_length=63, description="Local queue of Kueue; None: it starts at once.")
    service_account: str | None = Field(None, pattern=_NAME, max_length=253, description="Service account of the pods; None: the default.")
    image_pull_secrets: tuple[str, ...] = Field((), description="Secrets that the image is pulled with.")
    store_secret: str | None = Field(
        None, pattern=_NAME, max_length=253, description="Secret whose AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY open the store."
    )
    shm: str | None = Field("2Gi", pattern=_QUANTITY, description="Size of /dev/shm where the task mounts none; None: the node's default.")
    deadline_s: int | None = Field(None, ge=1, description="Seconds after which the TrainJob fails; None: never.")
    stop_grace_s: float = Field(20.0, ge=0, le=3600, description="Seconds that a stopped step waits for its pods to have saved.")
    patience_s: float = Field(300.0, ge=1, le=86_400, description="Seconds that the API may be away before the step gives up.")
    api: ApiSettings | None = Field(None, description="The API server; None: the one of the cluster that the step runs in.")
    task_config: TaskConfig = Field(TaskConfig(), description="What the platform says of the task.")


def cluster_settings(variables: Mapping[str, str], task: "DataclassInstance | None" = None) -> ClusterSettings | None:
    """Read where trainings run from the environment; None: in processes of this machine.

    REELSPACE_TRAIN_JOB is the JSON of ClusterSettings, REELSPACE_TASK_CONFIG that of a TaskConfig; its values count before those of
    `task_config`, key by key, and those of `task` before both.

    Args:
        task: kfp's `dsl.TaskConfig`, as a component gets it; what is empty there was not asked for.

    Raises:
        PlaceRefused: a key is unknown, missing, mistyped or out of range. It is no fault of the step's settings, so that the same key may
            succeed with others here.
    """
    text = variables.get(CLUSTER_VARIABLE, "")
    if not text:
        return None
    handed = {name: value for name, value in (asdict(task) if task else {}).items() if value}
    try:
        settings = read(ClusterSettings, text)
        given = (read(TaskConfig, variables.get(TASK_CONFIG_VARIABLE) or "{}"), read(TaskConfig, handed))
    except SettingError as error:
        raise PlaceRefused(f"{CLUSTER_VARIABLE}, {TASK_CONFIG_VARIABLE} or the task: {error}") from error
    present = {name: value for one in given for name in TaskConfig.model_fields if (value := getattr(one, name)) is not None}
    return settings.model_copy(update={"task_config": settings.task_config.model_copy(update=present)})
