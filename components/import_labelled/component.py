"""The `import_labelled` step as a kfp component."""

from kfp import dsl
from kfp.dsl import Artifact, Output

from components import images


@dsl.component(base_image=images.SIGNALS, install_kfp_package=False)
def import_labelled(table_uri: str, table: Output[Artifact], settings: str) -> None:
    """Bring a labelled table into the store for fine-tuning."""
    from reelspace.steps import import_labelled

    import_labelled.run(table_uri, table.path, settings)
