"""Where the classifiers of a fine-tuning start: at zero, at the vectors of their names, or at what the label graph makes of these.

Legend: K trained classes, A all labels of a `labels` artifact, N works, D embedding dimension.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file
from torch import Tensor

from reelspace.core.errors import UserError
from reelspace.model.label_graph import LabelGraphNetwork, sparse_rows
from reelspace.model.model import ReelModel
from reelspace.model.task_head import CLASSES_FILE, HeadStart
from reelspace.model.tokenizer import Tokenizer
from reelspace.signals.label_graph import read_graph, sparse_adjacency
from reelspace.steps.finetune_table import Chosen
from reelspace.train.finetune_settings import FinetuneSettings
from reelspace.train.finetune_works import KeptClassifiers
from reelspace.train.label_head import LABEL_HEAD_FILE

_SCALE: Final = 10.0
_CHUNK: Final = 4_096


def kept_classifiers(model: Path) -> KeptClassifiers:
    """Read the classifiers of a fetched model's own labels, scale folded in.

    Raises:
        UserError: the model was trained without labels.
    """
    tensors = _label_head(model, "extend is on")
    rows = pq.read_table(model / CLASSES_FILE).to_pylist()
    classes = tuple((int(row["label_id"]), str(row["text"])) for row in rows)
    return KeptClassifiers(classes, tensors["label_scale"] * tensors["label_vectors"], tensors["label_bias"])


def head_start(
    settings: FinetuneSettings, chosen: Chosen, model: ReelModel, tokenizer: Tokenizer, model_at: Path, table: Path
) -> HeadStart:
    """Give the start that the settings name; biases start at how common a class is among the training works.

    Args:
        model_at, table: the fetched artifacts of the model and of the table.

    Raises:
        UserError: the graph is asked for, and the table is no `labels` artifact or the model was trained without one.
    """
    names = [text for _, text in chosen.classes]
    if settings.start == "zero":
        classifiers_KD, scale = torch.zeros(len(names), model.settings.dimension), _SCALE
    elif settings.start == "text":
        classifiers_KD = _text_vectors(names, model, tokenizer)
        scale = float(load_file(model_at / LABEL_HEAD_FILE)["label_scale"]) if (model_at / LABEL_HEAD_FILE).is_file() else _SCALE
    else:
        classifiers_KD, scale = _graph_vectors(settings, chosen, model, tokenizer, model_at, table)
    return HeadStart(classifiers_KD, _bias_K(settings, chosen), scale)


def _bias_K(settings: FinetuneSettings, chosen: Chosen) -> Tensor:
    if settings.class_weights == "balanced":
        # Weighed so, every class is as common as the others.
        return torch.zeros(len(chosen.classes))
    share_K = np.clip((chosen.labels_NK[~chosen.is_held_out_N] > 0).mean(axis=0), 1e-6, 1 - 1e-6)
    bias_K = np.log(share_K) if chosen.task == "single_label" else np.log(share_K / (1 - share_K))
    return torch.from_numpy(bias_K.astype(np.float32))


@torch.no_grad()
def _text_vectors(names: Sequence[str], model: ReelModel, tokenizer: Tokenizer) -> Tensor:
    parts = []
    for start in range(0, len(names), _CHUNK):
        ids_BL, mask_BL = tokenizer.encode_BL(names[start : start + _CHUNK])
        parts.append(model.encode_text(torch.from_numpy(ids_BL), torch.from_numpy(mask_BL)))
    return torch.cat(parts)


@torch.no_grad()
def _graph_vectors(
    settings: FinetuneSettings, chosen: Chosen, model: ReelModel, tokenizer: Tokenizer, model_at: Path, table: Path
) -> tuple[Tensor, float]:
    """Give what the teacher's trained network makes of labels it never saw, over the graph of the table's labels."""
    if not (table / "vocabulary.parquet").is_file():
        raise UserError("start is graph and the table is no `labels` artifact, which has the label graph: set start to text")
    tensors = _label_head(model_at, "start is graph")
    if "network.first" not in tensors:
        raise UserError("start is graph and the model was trained with one free vector per label: set start to text")
    vocabulary = pq.read_table(table / "vocabulary.parquet", columns=["label_id", "text"])
    ids, names = vocabulary["label_id"].to_pylist(), vocabulary["text"].to_pylist()
    found = sparse_adjacency(read_graph(table, ids), len(ids), settings.graph)
    dimension, hidden = tensors["network.first"].shape
    rows = sparse_rows(found.start_L1, found.column_A, found.value_A)
    network = LabelGraphNetwork(dimension, hidden, rows, residual=True)
    network.load_state_dict({"first": tensors["network.first"], "second": tensors["network.second"]})
    place = {label_id: row for row, label_id in enumerate(ids)}
    columns_K = torch.tensor([place[label_id] for label_id, _ in chosen.classes])
    vectors_KD: Tensor = network(_text_vectors(names, model, tokenizer), columns_K)
    return vectors_KD, float(tensors["label_scale"])


def _label_head(model: Path, asked: str) -> dict[str, Tensor]:
    if not (model / LABEL_HEAD_FILE).is_file():
        raise UserError(f"{asked} and the model has no {LABEL_HEAD_FILE}: start from a teacher that was trained with labels")
    return dict(load_file(model / LABEL_HEAD_FILE))
