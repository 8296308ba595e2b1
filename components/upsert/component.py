"""The `upsert` step as a kfp component."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components import images


@dsl.component(base_image=images.SEARCH, install_kfp_package=False)
def upsert(vectors: Input[Artifact], evaluation: Input[Artifact], upserted: Output[Artifact], settings: str) -> None:
    """Write the works that came with an update into the collection that serves, when the gate was passed."""
    from reelspace.steps import upsert

    upsert.run(vectors.path, evaluation.path, upserted.path, settings)
