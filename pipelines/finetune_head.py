"""From a trained model and a labelled table to a task head."""

from kfp import dsl
from kfp.dsl import PipelineTask

from components.find_artifact.component import find_artifact
from components.finetune.component import finetune
from components.import_labelled.component import import_labelled
from pipelines import resources
from pipelines.resources import Resources


def _on(task: PipelineTask, size: Resources) -> PipelineTask:
    # reelspace keys every step by content; kfp's cache looks at names only, so it stays off.
    return task.set_cpu_limit(size.cpu).set_memory_limit(size.memory).set_caching_options(False)


@dsl.pipeline(name="finetune-head", description="Fine-tune a task head of a trained model on a labelled table.")
def finetune_head(
    model_id: str, shards_id: str, table_uri: str, import_labelled_settings: str = "{}", finetune_settings: str = "{}"
) -> None:
    """A model and shards of the store, by id, and a user's table."""
    model = _on(find_artifact(artifact_id=model_id, kinds="teacher,student"), resources.SMALL).outputs["artifact"]
    shards = _on(find_artifact(artifact_id=shards_id, kinds="shards"), resources.SMALL).outputs["artifact"]
    table = _on(import_labelled(table_uri=table_uri, settings=import_labelled_settings), resources.SMALL).outputs["table"]
    _on(finetune(model=model, shards=shards, table=table, settings=finetune_settings), resources.TRAIN)
