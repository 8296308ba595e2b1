"""`reelspace finetune`: a task head of your own classes over a trained model."""

from pathlib import Path
from typing import Annotated

import typer


def finetune(
    store: Annotated[str, typer.Option(help="Directory or s3://bucket/prefix that holds the model and the shards.")],
    model: Annotated[str, typer.Option(help="Artifact id of a teacher or a student.")],
    shards: Annotated[str, typer.Option(help="Artifact id of the shards that hold the table's works.")],
    table: Annotated[str, typer.Option(help="Table with video_id and label: Parquet, JSONL or CSV; or the id of a `labels` artifact.")],
    out: Annotated[Path, typer.Option(help="Directory the head is copied to.")],
    settings: Annotated[list[str] | None, typer.Option("--set", help="Override a setting, e.g. steps=500.")] = None,
) -> None:
    """Train a task head on a labelled table, copy it to --out, and print its id and figures as one JSON object."""
    import orjson

    from reelspace.steps.finetune_locally import finetune_locally

    typer.echo(orjson.dumps(finetune_locally(store, model, shards, table, out, settings or []), option=orjson.OPT_INDENT_2).decode())
