"""The `embed` step as a kfp component."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components import images


@dsl.component(base_image=images.TRAIN, install_kfp_package=False)
def embed(teacher: Input[Artifact], student: Input[Artifact], shards: Input[Artifact], vectors: Output[Artifact], settings: str) -> None:
    """Embed every work as at the moment of its upload: media and caption, no crowd."""
    from reelspace.steps import embed

    embed.run(teacher.path, student.path, shards.path, vectors.path, settings)
