"""The `promote` step as a kfp component."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components import images


@dsl.component(base_image=images.SEARCH, install_kfp_package=False)
def promote(
    evaluation: Input[Artifact], repository: Input[Artifact], index: Input[Artifact], promotion: Output[Artifact], settings: str
) -> None:
    """Flip encoders and index together, when the gate was passed."""
    from reelspace.steps import promote

    promote.run(evaluation.path, repository.path, index.path, promotion.path, settings)
