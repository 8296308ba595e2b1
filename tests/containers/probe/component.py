"""The `probe` step as a kfp component."""

from kfp import dsl
from kfp.dsl import Artifact, Output

from components import images


@dsl.component(base_image=images.SIGNALS, install_kfp_package=False)
def probe(facts: Output[Artifact], settings: str) -> None:
    """Tell what a step sees of its container."""
    from reelspace.steps import probe

    probe.run(facts.path, settings)
