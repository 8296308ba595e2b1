"""The `export` step as a kfp component."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components import images


@dsl.component(base_image=images.TRAIN, install_kfp_package=False)
def export(
    teacher: Input[Artifact], student: Input[Artifact], shards: Input[Artifact], repository: Output[Artifact], settings: str
) -> None:
    """Write the Triton model repository and compare it with torch."""
    from reelspace.steps import export

    export.run(teacher.path, student.path, repository.path, settings, shards.path)
