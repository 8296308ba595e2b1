"""The `find_artifact` step as a kfp component."""

from kfp import dsl
from kfp.dsl import Artifact, Output

from components import images


@dsl.component(base_image=images.SIGNALS, install_kfp_package=False)
def find_artifact(artifact_id: str, kinds: str, artifact: Output[Artifact]) -> None:
    """Take an artifact out of the store by its id."""
    from reelspace.steps import find_artifact

    find_artifact.run(artifact_id, kinds, artifact.path)
