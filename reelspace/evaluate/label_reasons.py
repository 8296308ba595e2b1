"""Why this label: the logit of a work for a label, split over the edges of the label graph that the label's classifier is made of.

The classifier is linear in the second graph layer: classifier_l = own_l + sum_j A[l, j] H1[j] W2, so the logit, classifier_l . x,
is the sum of what each neighbour j adds. A neighbour that the work has, or scores highly, and that adds much is a reason that a
person can check.
Legend: J labels of one row of the adjacency (the label itself is one of them), D dimension.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reelspace.core.errors import UserError
from reelspace.model.label_graph import LabelGraphNetwork, LabelInputs
from reelspace.signals.label_graph import LabelGraph


@dataclass(frozen=True, slots=True)
class LabelledWork:
    """A work's embedding (a unit vector D on the network's device) and the labels that the crowd gave it."""

    vector_D: Tensor
    labels: frozenset[int]


@dataclass(frozen=True, slots=True)
class EdgeReason:
    """What one neighbour says for the label.

    `p_neighbour` is P(neighbour | label), `p_label` is P(label | neighbour); both are None for the label's edge to itself.
    `adds` is its part of the work's logit; `share` its part of the classifier, by projection on it, whatever the work.
    `has` tells whether the crowd gave the neighbour to the work, `logit` how the work scores it by its own classifier.
    """

    neighbour: int
    p_neighbour: float | None
    p_label: float | None
    adds: float
    share: float
    has: bool
    logit: float


@dataclass(frozen=True, slots=True)
class LabelReasons:
    """The logit is own_adds plus what all edges add, and own_share plus their shares is 1; edges lie by falling `adds`.

    `own_adds` and `own_share` are those of the label's own text vector; both are 0 for a network without the residual.
    """

    label: int
    logit: float
    own_adds: float
    own_share: float
    edges: tuple[EdgeReason, ...]

    def strongest(self, num: int, min_logit: float) -> tuple[EdgeReason, ...]:
        """Give at most num neighbours that speak for the label and that the work shows: it has them, or scores them min_logit or more."""
        shown = (edge for edge in self.edges if edge.neighbour != self.label and edge.adds > 0 and (edge.has or edge.logit >= min_logit))
        return tuple(shown)[:num]


@torch.no_grad()
def label_reasons(network: LabelGraphNetwork, inputs: LabelInputs, graph: LabelGraph, work: LabelledWork, label: int) -> LabelReasons:
    """Split a work's logit for a label over the label's neighbours.

    Args:
        inputs: label vectors, as for the network.
        graph: the edges that the network's adjacency was made of, labels numbered as there.

    Raises:
        UserError: the network has an edge that the graph has not, so they are of different labels.

    Units: logits are inner products with the embedding; a scale s and a bias b of the model make them s * logit + b.
    Source: H2 = A H1 W2 of ML-GCN (Chen et al., 2019, equation 2), which is linear in the rows of H1.
    """
    terms = network.terms(inputs, label)
    vector_D, classifier_D = work.vector_D.float(), terms.classifier_D
    squared = float(classifier_D @ classifier_D) or 1.0
    logit_J = network(inputs, terms.column_J) @ vector_D
    columns = (terms.column_J, terms.term_JD @ vector_D, terms.term_JD @ classifier_D / squared, logit_J)
    edges = [
        EdgeReason(
            neighbour=neighbour,
            p_neighbour=_p(graph, label, neighbour),
            p_label=_p(graph, neighbour, label),
            adds=adds,
            share=share,
            has=neighbour in work.labels,
            logit=logit,
        )
        for neighbour, adds, share, logit in zip(*(column.tolist() for column in columns), strict=True)
    ]
    return LabelReasons(
        label=label,
        logit=float(classifier_D @ vector_D),
        own_adds=float(terms.own_D @ vector_D),
        own_share=float(terms.own_D @ classifier_D) / squared,
        edges=tuple(sorted(edges, key=lambda edge: (-edge.adds, edge.neighbour))),
    )


def _p(graph: LabelGraph, i: int, j: int) -> float | None:
    """P(j | i) of an edge; edges lie by (i, j)."""
    if i == j:
        return None
    low, high = np.searchsorted(graph.i_G, [i, i + 1])
    place = int(low + np.searchsorted(graph.j_G[low:high], j))
    if place == high or graph.j_G[place] != j:
        raise UserError(f"the network joins labels {i} and {j}, the label graph does not: give the graph of the labels it was built with")
    return float(graph.p_G[place])
