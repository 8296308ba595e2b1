"""One more day: labels appended, the teacher goes on in its space, new works go into the collection that serves."""

from kfp import dsl

from components.embed.component import embed
from components.evaluate.component import evaluate
from components.export.component import export
from components.find_artifact.component import find_artifact
from components.import_tables.component import import_tables
from components.preprocess_media.component import preprocess_media
from components.preprocess_signals.component import preprocess_signals
from components.pretrain.component import pretrain
from components.promote.component import promote
from components.upsert.component import upsert
from pipelines.resources import Size, on


@dsl.pipeline(name="daily-update", description="One more day of works and crowd, in the space and collection that serve.")
def daily_update(
    tables_uri: str,
    media_root: str,
    student_id: str,
    truth_uri: str = "",
    import_tables_settings: str = "{}",
    preprocess_signals_settings: str = "{}",
    preprocess_media_settings: str = "{}",
    pretrain_settings: str = "{}",
    embed_settings: str = "{}",
    evaluate_settings: str = "{}",
    export_settings: str = "{}",
    upsert_settings: str = "{}",
    promote_settings: str = "{}",
) -> None:
    """The tables up to the day, and the serving student by id; what is gone on from stands in the settings of the steps."""
    student = on(find_artifact(artifact_id=student_id, kinds="student"), Size.SMALL).outputs["artifact"]
    tables = on(import_tables(tables_uri=tables_uri, settings=import_tables_settings), Size.SMALL).outputs
    labels = on(preprocess_signals(tables=tables["tables"], settings=preprocess_signals_settings), Size.MEDIUM).outputs["labels"]
    shards = on(
        preprocess_media(tables=tables["tables"], media=tables["media"], media_root=media_root, settings=preprocess_media_settings),
        Size.MEDIUM,
    ).outputs["shards"]
    teacher = on(pretrain(shards=shards, labels=labels, settings=pretrain_settings), Size.TRAIN).outputs["teacher"]
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
    upserted = on(upsert(vectors=vectors, evaluation=evaluation, settings=upsert_settings), Size.SMALL).outputs["upserted"]
    on(promote(evaluation=evaluation, repository=repository, index=upserted, settings=promote_settings), Size.SMALL)
