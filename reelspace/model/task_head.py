"""A task head: classifiers over vectors of the space, trained on a labelled table, and the files they are kept in.

Legend: N works, K classes, D embedding dimension, H width of the hidden layer, C inputs of the classifiers: D, or H behind a hidden layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from reelspace.core.errors import UserError
from reelspace.core.settings import Settings, read
from reelspace.model.task import Task

HEAD_FILE: Final = "head.safetensors"
CLASSES_FILE: Final = "labels.parquet"
TASK_FILE: Final = "task.json"
# Entries of unit vectors are small: at this scale a hidden layer sees them as it is initialised for.
_INPUT_SCALE = 10.0


class TaskFacts(Settings):
    """task.json: what a head answers, and over which vectors."""

    task: Task = Field(description="single_label: one class each, by softmax; multi_label: any number, by a sigmoid per class.")
    num_classes: int = Field(ge=1, description="Classes.")
    base: str = Field(pattern=r"^[0-9a-f]{64}$", description="Artifact id of the model it was trained from.")
    space_id: str = Field(min_length=1, description="Space of the vectors it reads.")
    dimension: int = Field(ge=1, description="Dimension of these vectors.")


@dataclass(frozen=True, slots=True)
class HeadStart:
    """Where classifiers start: logits = scale * vector . classifier + bias."""

    classifiers_KD: Tensor
    bias_K: Tensor
    scale: float


class TaskHead(nn.Module):
    """Classifiers learned as the difference to their start, so that weight decay pulls them back there and not to zero.

    Source: L2-SP (Li, Grandvalet and Davoine, 2018, equation 2).
    """

    def __init__(self, start: HeadStart, hidden: int | None) -> None:
        super().__init__()
        num_classes, dimension = start.classifiers_KD.shape
        self.scale = start.scale
        self.start_KD: Tensor
        self.start_bias_K: Tensor
        # The job says where a head starts, so that a state of it needs only what was learned.
        self.register_buffer("start_KD", start.classifiers_KD.clone(), persistent=False)
        self.register_buffer("start_bias_K", start.bias_K.clone(), persistent=False)
        self.hidden = None if hidden is None else nn.Linear(dimension, hidden)
        self.change_KC = nn.Parameter(torch.zeros(num_classes, dimension if hidden is None else hidden))
        self.change_bias_K = nn.Parameter(torch.zeros(num_classes))
        if hidden is not None:
            nn.init.normal_(self.change_KC, std=hidden**-0.5)

    def forward(self, vectors_ND: Tensor) -> Tensor:
        """Give the logits NK."""
        if self.hidden is None:
            return self.scale * vectors_ND @ (self.start_KD + self.change_KC).T + self.start_bias_K + self.change_bias_K
        inputs_NH = functional.gelu(self.hidden(_INPUT_SCALE * vectors_ND))
        logits_NK: Tensor = inputs_NH @ self.change_KC.T + self.start_bias_K + self.change_bias_K
        return logits_NK

    @torch.no_grad()
    def tensors(self) -> dict[str, Tensor]:
        """Give the tensors of head.safetensors, scales folded in."""
        bias_K = self.start_bias_K + self.change_bias_K
        if self.hidden is None:
            return {"weight_KC": self.scale * (self.start_KD + self.change_KC), "bias_K": bias_K}
        hidden = {"hidden_weight_HD": _INPUT_SCALE * self.hidden.weight, "hidden_bias_H": self.hidden.bias}
        return {"weight_KC": self.change_KC.clone(), "bias_K": bias_K, **{name: tensor.detach().clone() for name, tensor in hidden.items()}}


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head as its files hold it."""

    facts: TaskFacts
    classes_K: tuple[str, ...]
    tensors: Mapping[str, Tensor]

    @torch.no_grad()
    def logits_NK(self, vectors_ND: NDArray[np.float32] | Tensor) -> Tensor:
        """Give the logits of works.

        Raises:
            UserError: the vectors are of another dimension, or not finite.
        """
        inputs = torch.as_tensor(vectors_ND).float()
        if inputs.dim() != 2 or inputs.shape[1] != self.facts.dimension:
            raise UserError(f"expected vectors of shape (works, {self.facts.dimension}), got {tuple(inputs.shape)}")
        if not bool(torch.isfinite(inputs).all()):
            raise UserError(f"expected finite vectors, got {int((~torch.isfinite(inputs)).any(dim=1).sum())} of {len(inputs)} that are not")
        if "hidden_weight_HD" in self.tensors:
            inputs = functional.gelu(inputs @ self.tensors["hidden_weight_HD"].T + self.tensors["hidden_bias_H"])
        return inputs @ self.tensors["weight_KC"].T + self.tensors["bias_K"]

    def scores_NK(self, vectors_ND: NDArray[np.float32] | Tensor) -> NDArray[np.float32]:
        """Give the probability of each class; those of a single-label task sum to 1.

        Args:
            vectors_ND: unit vectors of the head's space, any number of works.

        Raises:
            UserError: the vectors are of another dimension, or not finite.
        """
        logits_NK = self.logits_NK(vectors_ND)
        scores = logits_NK.softmax(dim=1) if self.facts.task == "single_label" else logits_NK.sigmoid()
        return scores.numpy()


def save_head(directory: Path, facts: TaskFacts, classes: Sequence[tuple[int, str]], tensors: Mapping[str, Tensor]) -> None:
    """Write a head in float32; classes are label_id and text of its K rows."""
    directory.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().float().cpu().contiguous() for name, tensor in tensors.items()}, directory / HEAD_FILE)
    columns = {
        "label_id": pa.array([label_id for label_id, _ in classes], pa.int64()),
        "text": pa.array([text for _, text in classes], pa.large_string()),
    }
    pq.write_table(pa.table(columns), directory / CLASSES_FILE)
    (directory / TASK_FILE).write_text(facts.model_dump_json(indent=1))


def load_head(directory: Path, space_id: str) -> TrainedHead:
    """Read a fetched `head` artifact to score vectors of one space.

    Args:
        space_id: that of the vectors, as space.json beside them says.

    Raises:
        UserError: the head reads vectors of another space, or its files do not fit each other.
    """
    facts = read(TaskFacts, (directory / TASK_FILE).read_text())
    if facts.space_id != space_id:
        raise UserError(
            f"the head reads vectors of space {facts.space_id}, got vectors of space {space_id}: "
            f"fine-tune a head from the model of these vectors, or embed with the head's model ({facts.base[:12]})"
        )
    classes = tuple(pq.read_table(directory / CLASSES_FILE, columns=["text"])["text"].to_pylist())
    tensors = load_file(directory / HEAD_FILE)
    rows = {len(classes), len(tensors["weight_KC"]), len(tensors["bias_K"])}
    if rows != {facts.num_classes}:
        raise UserError(f"expected {facts.num_classes} classes in every file of the head, got {sorted(rows)}: make it again")
    return TrainedHead(facts, classes, tensors)
