"""A teacher over the small world and what it answered, for the tests of distillation."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from reelspace.model.blocks import normalised
from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings
from reelspace.train.data import TrainData
from reelspace.train.settings import DistillSettings
from reelspace.train.teacher_answers import Asked, Places, ask_teacher
from reelspace.train.teacher_outputs import TeacherOutputs, read_outputs
from tests.unit.train.builders import WORDS, make_data, make_tokenizer, model_settings

SETTINGS = DistillSettings(batch_size=12, seed=3, num_views=3, view_seed=5)
IDS = {"teacher": "a" * 64, "shards": "b" * 64, "labels": "c" * 64}


def make_model(seed: int, settings: ModelSettings | None = None) -> ReelModel:
    """A model of the small world's inputs with untrained weights."""
    torch.manual_seed(seed)
    return ReelModel(settings or model_settings(make_tokenizer(make_data())))


def write_labels(directory: Path, dimension: int = 24, num_labels: int = len(WORDS)) -> None:
    """A teacher's label head and the labels it tells."""
    directory.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(1)
    tensors = {
        "label_vectors": normalised(torch.randn(num_labels, dimension, generator=draw)),
        "label_bias": torch.full((num_labels,), -2.0),
        "label_scale": torch.full((1,), 10.0),
    }
    save_file(tensors, directory / "label_head.safetensors")
    columns = {"label_id": pa.array(range(len(WORDS)), pa.int64()), "text": pa.array(WORDS, pa.large_string())}
    pq.write_table(pa.table(columns), directory / "labels.parquet")


def asked(root: Path, teacher: ReelModel, data: TrainData | None = None, settings: DistillSettings = SETTINGS) -> Asked:
    """What a teacher is asked, its files below root."""
    write_labels(root / "teacher")
    return Asked(root / "teacher", teacher, make_tokenizer(make_data()), data or make_data(), settings)


def places(root: Path) -> Places:
    """Where its answers go."""
    return Places(root / "outputs", root / "state", lambda: None)


def outputs_of(root: Path, teacher: ReelModel, settings: DistillSettings = SETTINGS, *, with_labels: bool = True) -> TeacherOutputs:
    """Everything the teacher answers about the small world, read from its files."""
    ask_teacher(asked(root, teacher, settings=settings), places(root), IDS)
    found = read_outputs(root / "outputs")
    return found if with_labels else replace(found, labels=None)
