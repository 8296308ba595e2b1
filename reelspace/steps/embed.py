"""Embed every work as at the moment of its upload: media and caption without tags, nothing of the crowd."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from pydantic import Field

from reelspace.core.artifacts import Artifact, open_artifact
from reelspace.core.errors import UserError
from reelspace.core.progress import progress
from reelspace.core.settings import Settings, read
from reelspace.core.steps import StepRun, run_step
from reelspace.media.dataset import ShardReader
from reelspace.model.checkpoint import load_model
from reelspace.model.inputs import video_inputs

Floats = NDArray[np.float32]


class EmbedSettings(Settings):
    """How works are embedded."""

    batch_size: int = Field(32, ge=1, le=4096, description="Works embedded at a time.")
    previous: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="Artifact id of earlier vectors of the same space: works that are there keep theirs, as the index does; None: none.",
    )


def run(teacher: str, student: str, shards: str, vectors: str, settings: str) -> None:
    """Write vectors.parquet with the named vectors `vector`, `picture` (teacher) and `student`.

    Raises:
        UserError: the earlier vectors are of another space or another size.
    """
    parsed = read(EmbedSettings, settings)
    run_step(
        "embed",
        __name__,
        settings=parsed,
        inputs={"teacher": teacher, "student": student, "shards": shards},
        outputs={"vectors": vectors},
        body=lambda run: _embed(run, parsed),
        extra_parents=[parsed.previous] if parsed.previous else [],
    )


def _embed(run: StepRun, settings: EmbedSettings) -> dict[str, object]:
    # One thread: sums in another order would give another artifact for the same models.
    torch.set_num_threads(1)
    reader = ShardReader(run.inputs["shards"])
    known = _known(run, settings)
    index = reader.index
    if known is not None:
        index = index.filter(pc.invert(pc.is_in(index["video_id"], value_set=known["video_id"])))
    ids = index["video_id"].to_pylist()
    teacher = embed_works(run.inputs["teacher"], run.scratch / "teacher", reader, ids, settings.batch_size)
    student = embed_works(run.inputs["student"], run.scratch / "student", reader, ids, settings.batch_size)
    columns = {
        "video_id": index.column("video_id"),
        "vector": fixed_size_list(teacher["fused"]),
        "picture": fixed_size_list(teacher["picture"]),
        "student": fixed_size_list(student["fused"]),
        "created_at": index.column("created_at"),
        "kind": index.column("kind"),
    }
    table = pa.table(columns)
    if known is not None:
        kept = known.filter(pc.is_in(known["video_id"], value_set=reader.index["video_id"]))
        table = pa.concat_tables([kept.select(table.column_names), table]).sort_by("video_id")
    out = run.output("vectors")
    pq.write_table(table, out / "vectors.parquet", compression="zstd")
    (out / "space.json").write_bytes(run.inputs["teacher"].read("space.json"))
    return {"rows": len(table), "embedded": len(ids), "dimension": teacher["fused"].shape[1]}


def _known(run: StepRun, settings: EmbedSettings) -> pa.Table | None:
    """Read the earlier vectors, where there are any."""
    if settings.previous is None:
        return None
    earlier, teacher = open_artifact(run.store, settings.previous), run.inputs["teacher"]
    if earlier.manifest.kind != "vectors":
        raise UserError(f"previous is {earlier.id[:12]}, of kind {earlier.manifest.kind}: expected vectors")
    theirs, ours = (orjson.loads(artifact.read("space.json")) for artifact in (earlier, teacher))
    if theirs != ours:
        raise UserError(f"previous holds vectors of {theirs}, the teacher {teacher.id[:12]} embeds into {ours}: embed all works")
    return pq.read_table(pa.BufferReader(earlier.read("vectors.parquet")))


def fixed_size_list(vectors_ND: Floats) -> pa.FixedSizeListArray:
    """Make the Arrow column of a table of vectors."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors_ND.reshape(-1), pa.float32()), vectors_ND.shape[1])


def embed_works(artifact: Artifact, directory: Path, reader: ShardReader, ids: Sequence[int], batch_size: int) -> dict[str, Floats]:
    """Embed works with a teacher or student.

    Args:
        directory: where the model's files are brought.

    Returns:
        `fused` and `picture`: one row of float32 per work, of length 1.
    """
    model, tokenizer, sizes = load_model(artifact.fetch(directory))
    model.eval()
    parts: dict[str, list[Floats]] = {name: [np.zeros((0, sizes.dimension), dtype=np.float32)] for name in ("fused", "picture")}
    with progress(len(ids), f"embed with the {artifact.manifest.kind}") as bar, torch.inference_mode():
        for start in range(0, len(ids), batch_size):
            samples = reader.read_all(ids[start : start + batch_size])
            output = model.encode_video(*video_inputs(samples, model.settings, tokenizer))
            parts["fused"].append(output.embedding_BD.numpy())
            parts["picture"].append(output.picture_BD.numpy())
            bar.advance(len(samples))
    return {name: np.concatenate(chunks) for name, chunks in parts.items()}
