"""The `evaluate` step as a kfp component."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components import images


@dsl.component(base_image=images.TRAIN, install_kfp_package=False)
def evaluate(
    teacher: Input[Artifact],
    student: Input[Artifact],
    vectors: Input[Artifact],
    labels: Input[Artifact],
    shards: Input[Artifact],
    truth_uri: str,
    evaluation: Output[Artifact],
    settings: str,
) -> None:
    """Measure teacher and student and decide the gate."""
    from reelspace.steps import evaluate

    evaluate.run(teacher.path, student.path, vectors.path, labels.path, evaluation.path, truth_uri, settings, shards.path)
