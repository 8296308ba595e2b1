"""The `preprocess_media` step as a kfp component."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components import images


@dsl.component(base_image=images.SIGNALS, install_kfp_package=False)
def preprocess_media(tables: Input[Artifact], media: Input[Artifact], media_root: str, shards: Output[Artifact], settings: str) -> None:
    """Decode every media file once into sample shards, broken ones into quarantine."""
    from reelspace.steps import preprocess_media

    preprocess_media.run(tables.path, media.path, shards.path, media_root, settings)
