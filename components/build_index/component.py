"""The `build_index` step as a kfp component."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components import images


@dsl.component(base_image=images.SEARCH, install_kfp_package=False)
def build_index(vectors: Input[Artifact], index: Output[Artifact], settings: str) -> None:
    """Build one sealed generation per shard from the vectors."""
    from reelspace.steps import build_index

    build_index.run(vectors.path, index.path, settings)
