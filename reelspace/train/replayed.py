"""Going on from an earlier teacher in its space: its weights, its label head, and its vectors of replayed works as targets.

An index holds the earlier teacher's vectors, so the vectors of works it knows must stay where they are; what is new finds its place beside
them. Source: backward-compatible training (Shen et al., 2020), with the earlier model's vectors themselves as the influence.
Legend: B works of this process, K labels, D embedding dimension.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from reelspace.core.errors import UserError
from reelspace.model.checkpoint import frozen, load_model, read_settings
from reelspace.model.losses import Rows
from reelspace.model.model import ReelModel
from reelspace.model.presets import preset
from reelspace.model.settings import ModelSettings
from reelspace.model.tokenizer import Tokenizer
from reelspace.train.batches import Batch
from reelspace.train.data import TrainData
from reelspace.train.label_head import LABEL_HEAD_FILE, FreeLabels, GraphLabels, LabelHead
from reelspace.train.objective_base import Encoded
from reelspace.train.teacher_answers import answer
from reelspace.train.teacher_outputs import LABELS_FILE

# Which of our vectors is held against which of the teacher's three, and how much; as in distillation, the fused one counts most.
_KEPT = (("embedding_0", 1.0), ("picture_0", 0.5), ("target", 0.5))


class KeptVectors:
    """The earlier teacher, asked for its vectors of replayed works as they are shown; no part of the trained state."""

    def __init__(self, teacher: ReelModel, replayed_ids: NDArray[np.int64], weight: float) -> None:
        self.weight = weight
        self._teacher = frozen(teacher)
        self._replayed_ids = torch.from_numpy(replayed_ids)

    def loss(self, encoded: Encoded, batch: Batch, rows: Rows) -> Tensor:
        """1 - cosine to the teacher's vectors, mean over the replayed works of all processes."""
        device = batch.ids_B.device
        replayed_B = torch.isin(batch.ids_B, self._replayed_ids.to(device))
        # Clones, since what inference mode makes may not meet gradients.
        theirs = [vectors_BD.clone() for vectors_BD in answer(self._teacher.to(device), batch)]
        terms = [
            weight * rows.mean(1 - (encoded[name].float() * vectors_BD).sum(dim=1), replayed_B & (vectors_BD.abs().sum(dim=1) > 0))
            for (name, weight), vectors_BD in zip(_KEPT, theirs, strict=True)
        ]
        return torch.stack(terms).sum()


def start_sizes(start: Path, name: str) -> ModelSettings:
    """Give the sizes of the model that training goes on from.

    Raises:
        UserError: they are not those of the preset of that name.
    """
    sizes = read_settings((start / "model.json").read_text())
    if sizes != preset(name).model_copy(update={"vocabulary_size": sizes.vocabulary_size}):
        raise UserError(f"model is {name}, and the teacher that replay names has other sizes: name its preset")
    return sizes


def start_model(start: Path) -> tuple[ReelModel, Tokenizer]:
    """Give the model to train, as the earlier teacher left it, and its tokenizer: what a token means stays."""
    model, tokenizer, _ = load_model(start)
    return model.train(), tokenizer


def kept_vectors(start: Path, data: TrainData, weight: float) -> KeptVectors:
    """Give the targets of the works that are replayed."""
    assert data.is_new_N is not None, "replay has windows"
    return KeptVectors(load_model(start)[0], data.ids_N[~data.is_new_N], weight)


@torch.no_grad()
def start_label_head(head: LabelHead, start: Path, data: TrainData, model: ReelModel, tokenizer: Tokenizer) -> None:
    """Let a label head go on from the earlier one's: a label it did not know starts from the vector of its text.

    In a head of the label graph nothing belongs to one label, so it is so by itself.

    Raises:
        UserError: the earlier teacher has no label head, or one of the other kind.
    """
    tensors = dict(load_file(start / LABEL_HEAD_FILE)) if (start / LABEL_HEAD_FILE).is_file() else {}
    if isinstance(head, GraphLabels) and "network.first" in tensors:
        head.network.load_state_dict({name: tensors[f"network.{name}"] for name in ("first", "second")})
        head.offset.copy_(tensors["offset"])
    elif isinstance(head, FreeLabels) and "vectors" in tensors:
        _start_free(head, tensors, start, data, model, tokenizer)
    else:
        kind = type(head).__name__
        raise UserError(f"objective.label_head makes {kind}, the teacher that replay names has none of that kind: choose as it did")
    head.scale.copy_(tensors["scale"])


def _start_free(head: FreeLabels, tensors: dict[str, Tensor], start: Path, data: TrainData, model: ReelModel, tokenizer: Tokenizer) -> None:
    old_row = {label_id: row for row, label_id in enumerate(pq.read_table(start / LABELS_FILE)["label_id"].to_pylist())}
    length = float(tensors["vectors"].norm(dim=1).mean())
    for row, (label_id, text) in enumerate(data.label_names):
        if label_id in old_row:
            head.vectors[row] = tensors["vectors"][old_row[label_id]]
            head.bias[row] = tensors["bias"][old_row[label_id]]
            continue
        ids_BL, mask_BL = tokenizer.encode_BL([text])
        head.vectors[row] = length * model.encode_text(torch.from_numpy(ids_BL), torch.from_numpy(mask_BL))[0]


def space_of(directory: Path) -> str:
    """Read the space id of a model."""
    return str(json.loads((directory / "space.json").read_text())["space_id"])
