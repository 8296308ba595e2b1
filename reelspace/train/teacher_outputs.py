"""What a teacher answered, kept: its vectors of every view of every work, and its label head.

facts.json       whose answers these are, about what
ids.npy          int64 [N], rising
fused.npy, picture.npy, text.npy   float16 [V, N, D]: the work, its picture, the text side; a row of zeros says nothing
label_head.safetensors, labels.parquet   of the teacher, as it wrote them; no head where it has none

float16 halves the files. Made of length 1 again when it is read, a vector has the cosine 1 - 1e-7 with what it was; of the demo's teacher
no similarity moves by more than 2e-4, and no probability of a label.
Legend: V views, N works, B works of a batch, D embedding dimension, K labels.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from torch import Tensor
from torch.nn import functional

from reelspace.core.errors import CorruptArtifact, UserError
from reelspace.core.settings import Settings
from reelspace.model.weights_file import read_weights
from reelspace.train.label_head import LABEL_HEAD_FILE

FACTS_FILE = "facts.json"
IDS_FILE = "ids.npy"
LABELS_FILE = "labels.parquet"
KINDS = ("fused", "picture", "text")
STORED = np.dtype("<f2")
_HASH = r"^[0-9a-f]{64}$"


class OutputFacts(Settings):
    """Whose answers an artifact `teacher_outputs` holds, and about what."""

    teacher: str = Field(pattern=_HASH, description="Id of the teacher.")
    shards: str = Field(pattern=_HASH, description="Id of the shards its works come from.")
    labels: str = Field(pattern=_HASH, description="Id of the labels its texts come from.")
    view_seed: int = Field(ge=0, description="Seed of the views.")
    num_views: int = Field(ge=1, description="Views of each work.")
    num_works: int = Field(ge=1, description="Works.")
    dimension: int = Field(ge=1, description="Length of a vector.")
    num_bad: int = Field(ge=0, description="Answers that were not finite and were left out.")


@dataclass(frozen=True, slots=True)
class TeacherLabels:
    """The teacher's label head as numbers: unit classifiers KD, biases K, one scale."""

    classifiers_KD: Tensor
    bias_K: Tensor
    scale: Tensor

    def logits_BK(self, vectors_BD: Tensor) -> Tensor:
        """Give the logit of every label for some vectors of the teacher's space."""
        own = (self.classifiers_KD, self.bias_K, self.scale)
        classifiers_KD, bias_K, scale = (tensor.to(vectors_BD.device) for tensor in own)
        return scale * vectors_BD.float() @ classifiers_KD.T + bias_K


@dataclass(frozen=True, slots=True)
class TeacherRows:
    """The teacher's vectors of the works of a batch, float32, of length 1; a row of zeros says nothing."""

    fused_BD: Tensor
    picture_BD: Tensor
    text_BD: Tensor


@dataclass(frozen=True, slots=True)
class TeacherOutputs:
    """A teacher's kept answers; the files stay where they are and processes share their pages."""

    facts: OutputFacts
    ids_N: NDArray[np.int64]
    vectors_VND: Mapping[str, NDArray[np.float16]]
    labels: TeacherLabels | None

    def rows(self, ids_B: Tensor, view: int) -> TeacherRows:
        """Give the answers for some works in one view, on the ids' device.

        Raises:
            UserError: a work is not among those that the teacher answered for.
        """
        wanted_B = ids_B.cpu().numpy()
        rows_B = np.searchsorted(self.ids_N, wanted_B).clip(max=len(self.ids_N) - 1)
        missing = wanted_B[self.ids_N[rows_B] != wanted_B]
        if len(missing):
            raise UserError(f"the teacher's outputs have no work {missing[0]}: they are of other works, run the step distill again")
        found = (torch.from_numpy(self.vectors_VND[kind][view, rows_B].astype(np.float32)).to(ids_B.device) for kind in KINDS)
        return TeacherRows(*(functional.normalize(vectors_BD, dim=1) for vectors_BD in found))


def read_outputs(directory: Path) -> TeacherOutputs:
    """Open the files of a fetched `teacher_outputs` artifact.

    Raises:
        CorruptArtifact: a file has another shape or kind of numbers than facts.json says, or is no such file at all.
    """
    try:
        facts = OutputFacts.model_validate_json((directory / FACTS_FILE).read_bytes(), strict=True)
    except (OSError, ValidationError) as error:
        raise CorruptArtifact(f"{directory / FACTS_FILE} does not read: {' '.join(str(error).split())[:200]}") from error
    ids_N = np.asarray(_array(directory / IDS_FILE, (facts.num_works,), np.dtype("<i8")), dtype=np.int64)
    if (np.diff(ids_N) <= 0).any():
        raise CorruptArtifact(f"{directory / IDS_FILE}: expected rising ids, each once; make the teacher's outputs again")
    shape = (facts.num_views, facts.num_works, facts.dimension)
    vectors = {kind: _array(directory / f"{kind}.npy", shape, STORED) for kind in KINDS}
    return TeacherOutputs(facts, ids_N, vectors, read_labels(directory, facts.dimension))


def read_labels(directory: Path, dimension: int) -> TeacherLabels | None:
    """Give the label head that lies beside a model; None where there is none.

    Raises:
        CorruptArtifact: the head is not one of as many labels as labels.parquet names, over vectors of the dimension.
    """
    path = directory / LABEL_HEAD_FILE
    if not path.is_file():
        return None
    tensors = read_weights(path)
    try:
        head = TeacherLabels(tensors["label_vectors"], tensors["label_bias"], tensors["label_scale"])
    except KeyError as error:
        raise CorruptArtifact(f"{path} is no label head: it has no {error}") from error
    num_labels = pq.read_metadata(directory / LABELS_FILE).num_rows
    if head.classifiers_KD.shape != (num_labels, dimension) or head.bias_K.shape != (num_labels,):
        raise CorruptArtifact(
            f"expected {num_labels} classifiers of {dimension} numbers in {path}, as {LABELS_FILE} names, "
            f"got {list(head.classifiers_KD.shape)} and biases {list(head.bias_K.shape)}: the label map is another one"
        )
    return head


def write_facts(directory: Path, facts: OutputFacts) -> None:
    """Write facts.json."""
    (directory / FACTS_FILE).write_text(json.dumps(facts.model_dump(mode="json"), indent=1))


def _array(path: Path, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> NDArray[np.float16]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CorruptArtifact(f"{path} is no array of numbers: {error}; make the teacher's outputs again") from error
    if array.shape != shape or array.dtype != dtype:
        raise CorruptArtifact(
            f"{path}: expected {dtype.name} of shape {list(shape)}, got {array.dtype.name} of shape {list(array.shape)}; "
            "make the teacher's outputs again"
        )
    return np.asarray(array)
