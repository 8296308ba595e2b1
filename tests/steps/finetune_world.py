"""What the tests of fine-tuning start from: the small world with a teacher that nobody trained, and labels it never saw."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from reelspace.core.artifacts import write_artifact, write_manifest_file
from reelspace.core.store import open_store
from reelspace.model.checkpoint import save_model, space_id
from reelspace.model.model import ReelModel
from reelspace.model.presets import preset
from reelspace.model.tokenizer import Tokenizer
from tests.steps.training_steps import Place
from tests.unit.train.worlds import FIRST_ID, NUM_WORKS, TOPICS

KNOWN = ("camera", "ramen")
NEW = ("cat", "drone")
IDS = range(FIRST_ID, FIRST_ID + NUM_WORKS)


def make_place(root: Path) -> Place:
    """A place with a teacher that knows two of the four labels; its vectors tell pictures apart as random weights do."""
    place = Place.make(root)
    put(place, "teacher", _write_teacher(root / "teacher"))
    return place


def put(place: Place, name: str, directory: Path, kind: str | None = None) -> str:
    """Store a directory as an artifact, with its manifest file under a name; gives the id."""
    artifact = write_artifact(open_store(place.world.store), kind or name, directory, parents=(), code="", settings={})
    write_manifest_file(artifact.manifest, place.manifest(name))
    return artifact.id


def topic_of(video_id: int) -> str:
    return TOPICS[(video_id - FIRST_ID) % len(TOPICS)]


def write_table(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def topic_rows() -> list[dict[str, Any]]:
    """Every work with its topic; the last eight are held out."""
    return [
        {"video_id": video_id, "label": topic_of(video_id), "split": "held_out" if video_id >= IDS[-8] else "train"} for video_id in IDS
    ]


def _write_teacher(directory: Path) -> Path:
    torch.manual_seed(0)
    sizes = preset("tiny_student")
    tokenizer = Tokenizer.train([f"my {topic} {number}" for topic in TOPICS for number in range(5)], 100, sizes.text_length)
    save_model(directory, ReelModel(sizes.model_copy(update={"vocabulary_size": max(64, tokenizer.size)})), tokenizer)
    vectors_KD = torch.nn.functional.normalize(torch.randn(len(KNOWN), sizes.dimension))
    tensors = {
        "label_vectors": vectors_KD,
        "label_bias": torch.tensor([-1.0, -2.0]),
        "label_scale": torch.tensor([9.0]),
        "network.first": torch.randn(sizes.dimension, 16) * 0.1,
        "network.second": torch.randn(16, sizes.dimension) * 0.1,
    }
    save_file(tensors, directory / "label_head.safetensors")
    pq.write_table(pa.table({"label_id": [0, 1], "text": pa.array(KNOWN, pa.large_string())}), directory / "labels.parquet")
    (directory / "space.json").write_text(json.dumps({"space_id": space_id(directory), "dimension": sizes.dimension}))
    return directory
