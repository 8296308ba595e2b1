"""The `pretrain` step as a kfp component."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components import images, task_config


@dsl.component(base_image=images.TRAIN, install_kfp_package=False, task_config_passthroughs=task_config.PASSED)
def pretrain(shards: Input[Artifact], labels: Input[Artifact], teacher: Output[Artifact], settings: str, task: dsl.TaskConfig) -> None:
    """Train the multimodal teacher on media and the crowd's labels."""
    from reelspace.steps import pretrain

    pretrain.run(shards.path, labels.path, teacher.path, settings, task)
