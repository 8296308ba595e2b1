"""The `pretrain` step as a kfp component."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components import images


@dsl.component(base_image=images.TRAIN, install_kfp_package=False)
def pretrain(shards: Input[Artifact], labels: Input[Artifact], teacher: Output[Artifact], settings: str) -> None:
    """Train the multimodal teacher on media and the crowd's labels."""
    from reelspace.steps import pretrain

    pretrain.run(shards.path, labels.path, teacher.path, settings)
