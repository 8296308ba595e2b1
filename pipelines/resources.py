"""What each step asks of a cluster: constants of a profile that is chosen before a pipeline is built.

They are no parameters of the pipeline: kfp hands one that sizes a task inside a group to the task and declares it nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kfp.dsl import PipelineTask

GPU = "nvidia.com/gpu"


class Size(StrEnum):
    """How large a step is; the profile says what that means."""

    SMALL = "small"
    MEDIUM = "medium"
    TRAIN = "train"


@dataclass(frozen=True, slots=True)
class Resources:
    """What a step asks for, as Kubernetes quantities.

    Memory is request and limit at once: a pod that uses more than it asked for is the first to be ended when a node runs short.
    `shared_memory` is the size of /dev/shm, which counts as memory of the step; without it a container has 64 MiB, too little for
    the processes of several GPUs.
    """

    cpu_request: str
    cpu_limit: str
    memory: str
    gpus: int = 0
    shared_memory: str | None = None


_SMALL = Resources(cpu_request="500m", cpu_limit="1", memory="4Gi")
_LARGER = Resources(cpu_request="2", cpu_limit="4", memory="16Gi")

PROFILES: Mapping[str, Mapping[Size, Resources]] = {
    "cpu": {
        Size.SMALL: _SMALL,
        Size.MEDIUM: Resources(cpu_request="1", cpu_limit="2", memory="8Gi"),
        Size.TRAIN: Resources(cpu_request="1", cpu_limit="2", memory="16Gi"),
    },
    "gpu1": {
        Size.SMALL: _SMALL,
        Size.MEDIUM: _LARGER,
        Size.TRAIN: Resources(cpu_request="8", cpu_limit="16", memory="64Gi", gpus=1, shared_memory="8Gi"),
    },
    "gpu8": {
        Size.SMALL: _SMALL,
        Size.MEDIUM: _LARGER,
        Size.TRAIN: Resources(cpu_request="64", cpu_limit="96", memory="512Gi", gpus=8, shared_memory="64Gi"),
    },
}
_chosen: ContextVar[str] = ContextVar("profile", default="cpu")


@contextmanager
def profile(name: str) -> Iterator[None]:
    """Build the pipelines inside for this profile, one of PROFILES."""
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def on(task: PipelineTask, size: Size) -> PipelineTask:
    """Give a task the resources of its size in the profile that is chosen, `cpu` where none is."""
    asked = PROFILES[_chosen.get()][size]
    task.set_cpu_request(asked.cpu_request).set_cpu_limit(asked.cpu_limit)
    task.set_memory_request(asked.memory).set_memory_limit(asked.memory)
    if asked.gpus:
        _add_gpus(task, asked.gpus)
    if asked.shared_memory:
        _add_shared_memory(task, asked.shared_memory)
    # reelspace keys every step by content; kfp's cache looks at names only, so it stays off.
    return task.set_caching_options(False)


def _add_gpus(task: PipelineTask, num_gpus: int) -> None:
    from kfp import kubernetes  # optional dependency of the `pipelines` extra

    task.set_accelerator_type(GPU).set_accelerator_limit(num_gpus)
    # Nodes with GPUs are usually tainted so that nothing else lands there.
    kubernetes.add_toleration(task, key=GPU, operator="Exists", effect="NoSchedule")


def _add_shared_memory(task: PipelineTask, size: str) -> None:
    from kfp import kubernetes  # optional dependency of the `pipelines` extra

    kubernetes.empty_dir_mount(task, volume_name="shared-memory", mount_path="/dev/shm", medium="Memory", size_limit=size)
