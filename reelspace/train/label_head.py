"""The multi-label head: one classifier per label, from the label graph and the labels' own texts, or free.

With the graph nothing that is learned belongs to one label, so a label costs its text vector and its edges, and a step reads the rows of
the batch's labels and their neighbours only.
Legend: K labels, S labels of a batch, B works, D embedding dimension, L text tokens.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from reelspace.model.blocks import normalised
from reelspace.model.label_graph import LabelGraphNetwork, sparse_rows
from reelspace.model.tokenizer import Tokenizer
from reelspace.signals.label_graph import sparse_adjacency
from reelspace.train.data import TrainData
from reelspace.train.settings import TrainSettings

LABEL_HEAD_FILE = "label_head.safetensors"
"""Beside a model: its head as numbers, whatever made them."""
_CHUNK = 4_096
EncodeText = Callable[[Tensor, Tensor], Tensor]


class LabelHead(nn.Module):
    """What both kinds share: logit = scale * (vector . classifier) + bias."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 10.0))

    def classifiers(self, columns_S: Tensor, encode_text: EncodeText | None = None) -> Tensor:
        """Give the unit classifiers SD of some labels; with `encode_text`, those that read the labels' texts train the text tower."""
        raise NotImplementedError

    def biases(self, columns_S: Tensor) -> Tensor:
        """Give the biases S of some labels."""
        raise NotImplementedError

    def refresh(self, encode_text: EncodeText) -> None:
        """Read the labels' texts anew; a head that reads none does nothing."""


class FreeLabels(LabelHead):
    """A free vector and bias per label: the baseline of the label graph."""

    def __init__(self, num_labels: int, dimension: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(num_labels, dimension) * 0.1)
        self.bias = nn.Parameter(torch.full((num_labels,), -4.0))

    def classifiers(self, columns_S: Tensor, encode_text: EncodeText | None = None) -> Tensor:
        """Give the unit classifiers SD."""
        return normalised(self.vectors[columns_S])

    def biases(self, columns_S: Tensor) -> Tensor:
        """Give the biases S."""
        return self.bias[columns_S]


class GraphLabels(LabelHead):
    """Classifiers of the label graph over the vectors of the labels' texts; biases are the labels' log-odds and one learned offset."""

    def __init__(self, network: LabelGraphNetwork, texts_KL: Tensor, log_odds_K: Tensor, dimension: int) -> None:
        super().__init__()
        self.texts_KL: Tensor
        self.log_odds_K: Tensor
        self.inputs_KD: Tensor
        self.network = network
        self.offset = nn.Parameter(torch.zeros(1))
        self.register_buffer("texts_KL", texts_KL, persistent=False)
        self.register_buffer("log_odds_K", log_odds_K, persistent=False)
        # Saved: a training that goes on reads the vectors of the last refresh, not of the step it was stopped at.
        self.register_buffer("inputs_KD", torch.zeros(len(texts_KL), dimension))

    def classifiers(self, columns_S: Tensor, encode_text: EncodeText | None = None) -> Tensor:
        """Give the unit classifiers SD: own texts as they are read now, neighbours as at the last refresh."""
        own_SD = None
        if encode_text is not None:
            texts_SL = self.texts_KL[columns_S]
            own_SD = encode_text(texts_SL, texts_SL != 0)
        classifiers_SD: Tensor = self.network(self.inputs_KD, columns_S, own_SD)
        return classifiers_SD

    def biases(self, columns_S: Tensor) -> Tensor:
        """Give the biases S."""
        return self.log_odds_K[columns_S] + self.offset

    @torch.no_grad()
    def refresh(self, encode_text: EncodeText) -> None:
        """Encode the labels' texts, a chunk at a time."""
        for start in range(0, len(self.texts_KL), _CHUNK):
            part_BL = self.texts_KL[start : start + _CHUNK]
            self.inputs_KD[start : start + _CHUNK] = encode_text(part_BL, part_BL != 0).to(self.inputs_KD.dtype)


def label_logits(vectors_BD: Tensor, classifiers_SD: Tensor, biases_S: Tensor, scale: Tensor) -> Tensor:
    """Give the logits BS of works for some labels."""
    return scale * vectors_BD @ classifiers_SD.T + biases_S


def make_label_head(data: TrainData, tokenizer: Tokenizer, settings: TrainSettings, dimension: int) -> LabelHead | None:
    """Give the head that the settings name for the labels of the data; None where there is no label or no weight on them."""
    num_labels = len(data.label_names)
    if not num_labels or settings.objective.labels == 0:
        return None
    if settings.objective.label_head == "vectors" or data.label_facts is None:
        return FreeLabels(num_labels, dimension)
    found = sparse_adjacency(data.label_facts.graph, num_labels, settings.graph)
    adjacency = sparse_rows(found.start_L1, found.column_A, found.value_A)
    if settings.objective.max_neighbours is not None:
        adjacency = adjacency.strongest(settings.objective.max_neighbours)
    network = LabelGraphNetwork(dimension, settings.objective.label_hidden, adjacency, residual=True)
    texts_KL, mask_KL = tokenizer.encode_BL([text for _, text in data.label_names])
    texts_KL = texts_KL[:, : max(1, int(mask_KL.sum(axis=1).max()))]
    share_K = np.clip((data.labels_NK > 0).mean(axis=0), 1e-6, 0.5)
    log_odds_K = torch.from_numpy(np.log(share_K / (1 - share_K)).astype(np.float32))
    return GraphLabels(network, torch.from_numpy(texts_KL), log_odds_K, dimension)
