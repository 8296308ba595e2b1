"""Embed every work as at the moment of its upload: media and caption without tags, nothing of the crowd."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from pydantic import Field

from reelspace.core.artifacts import Artifact
from reelspace.core.progress import progress
from reelspace.core.settings import Settings, read
from reelspace.core.steps import StepRun, run_step
from reelspace.media.dataset import ShardReader
from reelspace.media.sample import Sample
from reelspace.model.checkpoint import load_model
from reelspace.model.inputs import video_inputs

Floats = NDArray[np.float32]


class EmbedSettings(Settings):
    """How works are embedded."""

    batch_size: int = Field(32, ge=1, le=4096, description="Works embedded at a time.")


def run(teacher: str, student: str, shards: str, vectors: str, settings: str) -> None:
    """Write vectors.parquet with the named vectors `vector`, `picture` (teacher) and `student`."""
    parsed = read(EmbedSettings, settings)
    inputs = {"teacher": teacher, "student": student, "shards": shards}
    run_step("embed", __name__, settings=parsed, inputs=inputs, outputs={"vectors": vectors}, body=lambda run: _embed(run, parsed))


def _embed(run: StepRun, settings: EmbedSettings) -> dict[str, object]:
    # One thread: sums in another order would give another artifact for the same models.
    torch.set_num_threads(1)
    reader = ShardReader(run.inputs["shards"])
    teacher = _embed_all(run.inputs["teacher"], run.scratch / "teacher", reader, settings, "teacher")
    student = _embed_all(run.inputs["student"], run.scratch / "student", reader, settings, "student")
    index = reader.index
    columns = {
        "video_id": index.column("video_id"),
        "vector": fixed_size_list(teacher["fused"]),
        "picture": fixed_size_list(teacher["picture"]),
        "student": fixed_size_list(student["fused"]),
        "created_at": index.column("created_at"),
        "kind": index.column("kind"),
    }
    out = run.output("vectors")
    pq.write_table(pa.table(columns), out / "vectors.parquet", compression="zstd")
    (out / "space.json").write_bytes(run.inputs["teacher"].read("space.json"))
    return {"rows": len(index), "dimension": teacher["fused"].shape[1]}


def fixed_size_list(vectors_ND: Floats) -> pa.FixedSizeListArray:
    """Make the Arrow column of a table of vectors."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors_ND.reshape(-1), pa.float32()), vectors_ND.shape[1])


def _embed_all(artifact: Artifact, directory: Path, reader: ShardReader, settings: EmbedSettings, what: str) -> dict[str, Floats]:
    model, tokenizer, _ = load_model(artifact.fetch(directory))
    model.eval()
    parts: dict[str, list[Floats]] = {"fused": [], "picture": []}
    with progress(len(reader.video_ids), f"embed with the {what}") as bar, torch.inference_mode():
        for samples in _batches(reader, settings.batch_size):
            output = model.encode_video(*video_inputs(samples, model.settings, tokenizer))
            parts["fused"].append(output.embedding_BD.numpy())
            parts["picture"].append(output.picture_BD.numpy())
            bar.advance(len(samples))
    return {name: np.concatenate(chunks) for name, chunks in parts.items()}


def _batches(reader: ShardReader, size: int) -> Iterator[Sequence[Sample]]:
    ids = reader.video_ids.tolist()
    for start in range(0, len(ids), size):
        yield reader.read_all(ids[start : start + size])
