"""From tables and media to promoted encoders and a searchable index."""

from kfp import dsl

from components.build_index.component import build_index
from components.distill.component import distill
from components.embed.component import embed
from components.evaluate.component import evaluate
from components.export.component import export
from components.import_tables.component import import_tables
from components.preprocess_media.component import preprocess_media
from components.preprocess_signals.component import preprocess_signals
from components.pretrain.component import pretrain
from components.promote.component import promote
from pipelines.resources import Size, on


@dsl.pipeline(name="train-and-publish", description="Train on media and crowd, distil, evaluate, export, index, promote.")
def train_and_publish(
    tables_uri: str,
    media_root: str,
    truth_uri: str = "",
    import_tables_settings: str = "{}",
    preprocess_signals_settings: str = "{}",
    preprocess_media_settings: str = "{}",
    pretrain_settings: str = "{}",
    distill_settings: str = "{}",
    embed_settings: str = "{}",
    evaluate_settings: str = "{}",
    export_settings: str = "{}",
    build_index_settings: str = "{}",
    promote_settings: str = "{}",
) -> None:
    """The whole journey; every setting is the JSON of the step of that name."""
    tables = on(import_tables(tables_uri=tables_uri, settings=import_tables_settings), Size.SMALL).outputs
    labels = on(preprocess_signals(tables=tables["tables"], settings=preprocess_signals_settings), Size.MEDIUM).outputs["labels"]
    shards = on(
        preprocess_media(tables=tables["tables"], media=tables["media"], media_root=media_root, settings=preprocess_media_settings),
        Size.MEDIUM,
    ).outputs["shards"]
    teacher = on(pretrain(shards=shards, labels=labels, settings=pretrain_settings), Size.TRAIN).outputs["teacher"]
    student = on(distill(teacher=teacher, shards=shards, labels=labels, settings=distill_settings), Size.TRAIN).outputs["student"]
    vectors = on(embed(teacher=teacher, student=student, shards=shards, settings=embed_settings), Size.MEDIUM).outputs["vectors"]
    evaluation = on(
        evaluate(
            teacher=teacher,
            student=student,
            vectors=vectors,
            labels=labels,
            shards=shards,
            truth_uri=truth_uri,
            settings=evaluate_settings,
        ),
        Size.MEDIUM,
    ).outputs["evaluation"]
    repository = on(export(teacher=teacher, student=student, shards=shards, settings=export_settings), Size.MEDIUM).outputs["repository"]
    index = on(build_index(vectors=vectors, settings=build_index_settings), Size.MEDIUM).outputs["index"]
    on(promote(evaluation=evaluation, repository=repository, index=index, settings=promote_settings), Size.SMALL)
