"""`reelspace evaluate`: measure embeddings and encoders, ours and third parties'. Rooms load inside commands."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Measure embeddings and encoders.", no_args_is_help=True)


@app.command()
def probe(
    vectors: Annotated[Path, typer.Option(help="Vectors of any model: .parquet with video_id and a column of lists, or .npy with --ids.")],
    truth: Annotated[Path, typer.Option(help="A generated world, as `demo generate` writes it.")],
    cutoff: Annotated[datetime, typer.Option(help="Works uploaded from here on are queries; UTC.")],
    column: Annotated[
        str | None, typer.Option(help="Column of the Parquet file; the only one of lists, or `vector`, if not given.")
    ] = None,
    ids: Annotated[Path | None, typer.Option(help="Video ids of the rows of an .npy file: .npy, or text with one a line.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Override a setting, e.g. slices.fresh_days=7.")] = None,
) -> None:
    """Print precision, the background-swap probe and slices of an embedding as one JSON object."""
    import orjson

    from reelspace.core.settings import read
    from reelspace.evaluate.probe import ProbeSettings
    from reelspace.evaluate.probe import probe as measure
    from reelspace.evaluate.vectors import read_embedding

    parsed = read(ProbeSettings, {"cutoff": cutoff.replace(tzinfo=UTC).isoformat()}, settings or [])
    _print(orjson.dumps(measure(read_embedding(vectors, ids, column), truth, parsed), option=orjson.OPT_INDENT_2))


@app.command()
def beir(
    teacher: Annotated[Path, typer.Option(help="A directory with a trained model: model.safetensors, model.json, tokenizer.json.")],
    data: Annotated[Path, typer.Option(help="A benchmark in BEIR layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv.")],
    split: Annotated[str, typer.Option(help="Which judgements.")] = "test",
) -> None:
    """Print nDCG@10 and recall of a model's text side on a public text benchmark as one JSON object."""
    import orjson

    from reelspace.evaluate.beir import beir_figures, read_beir
    from reelspace.evaluate.mteb_adapter import TeacherEncoder

    _print(orjson.dumps(beir_figures(TeacherEncoder(teacher), read_beir(data, split)), option=orjson.OPT_INDENT_2))


@app.command()
def why(
    teacher: Annotated[Path, typer.Option(help="A fetched `teacher` artifact.")],
    labels: Annotated[Path, typer.Option(help="The fetched `labels` artifact it was trained on.")],
    vectors: Annotated[Path, typer.Option(help="vectors.parquet of that teacher.")],
    video_id: Annotated[int, typer.Option(help="The work.")],
    num_labels: Annotated[int, typer.Option("--labels-shown", min=1, help="Labels told.")] = 5,
    num_reasons: Annotated[int, typer.Option("--reasons-shown", min=0, help="Edges told per label.")] = 3,
) -> None:
    """Print the likeliest labels of a work and the edges of the label graph behind each as one JSON object."""
    import numpy as np
    import orjson

    from reelspace.core.errors import UserError
    from reelspace.evaluate.explained_labels import TrainedLabels, crowd_labels
    from reelspace.evaluate.vectors import read_embedding

    embedding = read_embedding(vectors, column="vector")
    rows = np.flatnonzero(embedding.video_ids_N == video_id)
    if not len(rows):
        raise UserError(f"expected a work of {vectors}, got --video-id {video_id}")
    trained = TrainedLabels.read(teacher, labels)
    found = trained.explain(embedding.vectors_ND[rows[0]], crowd_labels(labels, video_id), num_labels, num_reasons)
    _print(orjson.dumps({"video_id": video_id, "labels": found}, option=orjson.OPT_INDENT_2))


def _print(text: bytes) -> None:
    typer.echo(text.decode())
