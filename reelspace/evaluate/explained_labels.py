"""The labels a teacher gives a work, and why: the strongest edges of the label graph behind each.

Legend: K labels, D embedding dimension.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from reelspace.core.errors import UserError
from reelspace.evaluate.label_reasons import LabelledWork, label_reasons
from reelspace.model.label_graph import LabelGraphNetwork, SparseRows
from reelspace.signals.label_graph import LabelGraph, read_graph
from reelspace.train.label_head import LABEL_HEAD_FILE

_MIN_LOGIT = 0.3  # cosine from which on a work is said to show a label


@dataclass(frozen=True, slots=True)
class TrainedLabels:
    """The K labels of a teacher with what they were trained to."""

    ids_K: tuple[int, ...]
    texts_K: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    network: LabelGraphNetwork
    graph: LabelGraph

    @classmethod
    def read(cls, teacher: Path, labels: Path) -> "TrainedLabels":
        """Read a fetched `teacher` artifact and the `labels` artifact it was trained on.

        Raises:
            UserError: the teacher was trained without the label graph.
        """
        if not (teacher / LABEL_HEAD_FILE).is_file():
            raise UserError(f"expected {LABEL_HEAD_FILE} in {teacher}: the teacher was trained without labels")
        tensors = load_file(teacher / LABEL_HEAD_FILE)
        if "graph.start_K1" not in tensors:
            raise UserError(f"expected a label graph in {teacher / LABEL_HEAD_FILE}: train with objective.label_head = graph")
        first_DH = tensors["network.first"]
        rows = SparseRows(tensors["graph.start_K1"], tensors["graph.column_E"], tensors["graph.value_E"])
        network = LabelGraphNetwork(first_DH.shape[0], first_DH.shape[1], rows, residual=True)
        network.load_state_dict({"first": first_DH, "second": tensors["network.second"]})
        names = pq.read_table(teacher / "labels.parquet")
        ids = tuple(names["label_id"].to_pylist())
        return cls(ids, tuple(names["text"].to_pylist()), tensors, network, read_graph(labels, ids))

    def explain(self, vector_D: NDArray[np.float32], has: frozenset[int], num_labels: int, num_reasons: int) -> list[dict[str, object]]:
        """Give the likeliest labels of a work, each with its probability, what its own text adds, and its strongest edges.

        Args:
            vector_D: the work's unit vector.
            has: label ids that the crowd gave the work.

        Returns:
            By falling probability; `adds` are parts of the cosine of work and classifier, and sum to it over all edges and the own text.
        """
        vector = torch.from_numpy(np.asarray(vector_D, dtype=np.float32))
        logits_K = self.tensors["label_scale"] * (self.tensors["label_vectors"] @ vector) + self.tensors["label_bias"]
        best = torch.argsort(-logits_K, stable=True)[:num_labels].tolist()
        work = LabelledWork(vector, frozenset(column for column, label_id in enumerate(self.ids_K) if label_id in has))
        return [self._explained(work, column, float(torch.sigmoid(logits_K[column])), num_reasons) for column in best]

    def _explained(self, work: LabelledWork, column: int, probability: float, num_reasons: int) -> dict[str, object]:
        found = label_reasons(self.network, self.tensors["inputs_KD"], self.graph, work, column)
        reasons = [
            {"label": self.texts_K[edge.neighbour], "p": edge.p_neighbour, "adds": round(edge.adds, 4), "on_the_work": edge.has}
            for edge in found.strongest(num_reasons, _MIN_LOGIT)
        ]
        text = self.texts_K[column]
        return {
            "label": text,
            "label_id": self.ids_K[column],
            "probability": round(probability, 4),
            "given_by_the_crowd": column in work.labels,
            "own_text_adds": round(found.own_adds, 4),
            "reasons": reasons,
        }


def crowd_labels(labels: Path, video_id: int) -> frozenset[int]:
    """Give the ids of the labels that a work has in a `labels` artifact."""
    table = pq.read_table(labels / "video_labels.parquet", columns=["label_id"], filters=[("video_id", "=", video_id)])
    return frozenset(table["label_id"].to_pylist())
