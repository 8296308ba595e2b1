"""The `finetune` step as a kfp component."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components import images


@dsl.component(base_image=images.TRAIN, install_kfp_package=False)
def finetune(model: Input[Artifact], shards: Input[Artifact], table: Input[Artifact], head: Output[Artifact], settings: str) -> None:
    """Train a task head, and the model's last blocks if asked to, on a labelled table."""
    from reelspace.steps import finetune

    finetune.run(model.path, shards.path, table.path, head.path, settings)
