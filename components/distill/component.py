"""The `distill` step as a kfp component."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components import images, task_config


@dsl.component(base_image=images.TRAIN, install_kfp_package=False, task_config_passthroughs=task_config.PASSED)
def distill(
    teacher: Input[Artifact],
    shards: Input[Artifact],
    labels: Input[Artifact],
    student: Output[Artifact],
    settings: str,
    task: dsl.TaskConfig,
) -> None:
    """Train the light student in the teacher's vector space."""
    from reelspace.steps import distill

    distill.run(teacher.path, shards.path, labels.path, student.path, settings, task)
