"""The `preprocess_signals` step as a kfp component."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components import images


@dsl.component(base_image=images.SIGNALS, install_kfp_package=False)
def preprocess_signals(tables: Input[Artifact], labels: Output[Artifact], settings: str) -> None:
    """Turn hashtags, searches and comments into a vocabulary, labels and texts."""
    from reelspace.steps import preprocess_signals

    preprocess_signals.run(tables.path, labels.path, settings)
