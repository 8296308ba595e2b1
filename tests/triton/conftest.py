"""Untrained tiny models as teacher and student artifacts, and their exported repository."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import normalize

from reelspace.core.artifacts import open_artifact, read_manifest_file, write_artifact, write_manifest_file
from reelspace.core.store import Store, open_store
from reelspace.model.checkpoint import save_model
from reelspace.model.model import ReelModel
from reelspace.model.presets import preset
from reelspace.model.tokenizer import Tokenizer
from reelspace.serving.parity import WORDS
from reelspace.steps import export

from .behind import Behind, behind_gateway

SPACE_ID = "0123456789abcdef"
LABELS = [f"{word} {number}" for number in range(4) for word in WORDS]


@dataclass(frozen=True)
class Exported:
    """Manifest files and fetched directories of one export."""

    root: Path
    store: Store
    teacher: Path
    student: Path
    repository: Path
    models: Path

    def run_again(self, name: str, settings: str = "{}") -> Path:
        path = self.root / name / "repository"
        with store_in_environment(self.store.url):
            export.run(str(self.teacher), str(self.student), str(path), settings)
        return path


class store_in_environment:
    """REELSPACE_STORE for the time of a step, as a component sets it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __enter__(self) -> None:
        self.before = os.environ.get("REELSPACE_STORE")
        os.environ["REELSPACE_STORE"] = self.url

    def __exit__(self, *_: object) -> None:
        os.environ.pop("REELSPACE_STORE")
        if self.before is not None:
            os.environ["REELSPACE_STORE"] = self.before


def write_model(store: Store, root: Path, name: str, size: str, seed: int) -> Path:
    """Write an untrained model's artifact; give the path of its manifest file."""
    torch.manual_seed(seed)
    directory = root / f"{name}-files"
    settings = preset(size)
    tokenizer = Tokenizer.train([*WORDS, "the quick brown fox"] * 3, settings.vocabulary_size, settings.text_length)
    save_model(directory, ReelModel(settings), tokenizer)
    (directory / "space.json").write_text(json.dumps({"space_id": SPACE_ID, "dimension": settings.dimension}))
    write_labels(directory, settings.dimension)
    artifact = write_artifact(store, name, directory, parents=(), code="", settings={})
    write_manifest_file(artifact.manifest, root / name)
    return root / name


def write_labels(directory: Path, dimension: int) -> None:
    """Write a label head as a training leaves it beside a model."""
    columns = {"label_id": pa.array(range(len(LABELS)), pa.int64()), "text": pa.array(LABELS, pa.large_string())}
    pq.write_table(pa.table(columns), directory / "labels.parquet")
    vectors_LD = normalize(torch.randn(len(LABELS), dimension), dim=1)
    head = {"label_vectors": vectors_LD, "label_bias": torch.randn(len(LABELS)) - 2, "label_scale": torch.tensor([8.0])}
    save_file(head, directory / "label_head.safetensors")


@pytest.fixture(scope="session")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    """A real Triton behind a gateway process."""
    with behind_gateway(tmp_path_factory.mktemp("behind")) as running:
        yield running


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    root = tmp_path_factory.mktemp("exported")
    store = open_store(str(root / "store"))
    teacher, student = write_model(store, root, "teacher", "tiny", 1), write_model(store, root, "student", "tiny_student", 2)
    repository, models = root / "repository", root / "models"
    result = Exported(root, store, teacher, student, repository, models)
    repository.symlink_to(result.run_again("first"))
    open_artifact(store, read_manifest_file(repository).id).fetch(models)
    return result
