"""The `import_tables` step as a kfp component."""

from kfp import dsl
from kfp.dsl import Artifact, Output

from components import images


@dsl.component(base_image=images.SIGNALS, install_kfp_package=False)
def import_tables(tables_uri: str, tables: Output[Artifact], media: Output[Artifact], settings: str) -> None:
    """Bring the input tables into the store and list the media files with their hashes."""
    from reelspace.steps import import_tables

    import_tables.run(tables_uri, tables.path, media.path, settings)
