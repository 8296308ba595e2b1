"""What the shapes share: an image, uncached tasks, and the form of an expected result.

Each shape is one feature of kfp as a tiny pipeline: `pipeline` and `EXPECTED`. Beside it lies the WorkflowTemplate that it becomes.
Bodies are plain Python and run in any image that holds kfp; what a body can see for itself it asserts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from kfp import dsl

IMAGE: Final = "localhost/kfp-shapes:test"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a cluster must show after a run.

    Tasks go by the name of their template, which Argo's nodes carry. `outputs` are parameters by `task.name`, of tasks that run once;
    `pods` counts the pods of a task, all tries and rounds together, 0 for one that must not run; `needs` names objects that the shape
    mounts or is placed on.
    """

    phase: Literal["Succeeded", "Failed"] = "Succeeded"
    outputs: Mapping[str, str] = field(default_factory=dict)
    pods: Mapping[str, int] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


def uncached(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Switch kfp's cache off: Argo has none."""
    return task.set_caching_options(False)
