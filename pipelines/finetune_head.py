"""From a trained model and a labelled table to a task head."""

from kfp import dsl

from components.find_artifact.component import find_artifact
from components.finetune.component import finetune
from components.import_labelled.component import import_labelled
from pipelines.resources import Size, on


@dsl.pipeline(name="finetune-head", description="Fine-tune a task head of a trained model on a labelled table.")
def finetune_head(
    model_id: str, shards_id: str, table_uri: str, import_labelled_settings: str = "{}", finetune_settings: str = "{}"
) -> None:
    """A model and shards of the store, by id, and a user's table."""
    model = on(find_artifact(artifact_id=model_id, kinds="teacher,student"), Size.SMALL).outputs["artifact"]
    shards = on(find_artifact(artifact_id=shards_id, kinds="shards"), Size.SMALL).outputs["artifact"]
    table = on(import_labelled(table_uri=table_uri, settings=import_labelled_settings), Size.SMALL).outputs["table"]
    on(finetune(model=model, shards=shards, table=table, settings=finetune_settings), Size.TRAIN)
