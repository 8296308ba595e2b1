"""Graph picture: the strongest edges among the most frequent labels, laid out on a plane.

The layout is the force-directed one of Fruchterman and Reingold (1991) from a start on a circle, so that it repeats.
Legend: N labels in the picture, E edges, G directed edges of the graph, L labels.
"""

from collections.abc import Sequence
from typing import Final, TypedDict

import numpy as np
from numpy.typing import NDArray

from reelspace.signals.label_graph import LabelGraph

_NUM_LABELS: Final = 80  # the most frequent ones may be in the picture
_NUM_EDGES: Final = 60
_NUM_STEPS: Final = 150
_LEAST_DISTANCE: Final = 1e-3
_PULL_TO_CENTRE: Final = 1.5  # keeps parts without a common edge in sight
_ROUNDED_TO: Final = 4


class Picture(TypedDict):
    """Labels with their works and place in the unit square, and edges by the places of their labels with a strength of 0 to 1."""

    labels: Sequence[tuple[str, int, float, float]]
    edges: Sequence[tuple[int, int, float]]


def picture_of(graph: LabelGraph, texts: Sequence[str], num_works_L: NDArray[np.int64]) -> Picture:
    """Lay out the strongest edges; the strength of an edge is the cosine of its labels, sqrt(p_ij * p_ji).

    Args:
        graph: in the numbers of `texts`, every pair in both directions.
    """
    frequent_L = np.zeros(len(texts), dtype=bool)
    frequent_L[np.argsort(-num_works_L, kind="stable")[:_NUM_LABELS]] = True
    rows = np.flatnonzero((graph.i_G < graph.j_G) & frequent_L[graph.i_G] & frequent_L[graph.j_G])
    i_E, j_E = graph.i_G[rows], graph.j_G[rows]
    works_E = num_works_L[i_E].astype(np.float64) * num_works_L[j_E]
    strength_E = (graph.count_G[rows] / np.sqrt(np.maximum(works_E, 1))).round(_ROUNDED_TO)
    order = np.lexsort((j_E, i_E, -strength_E))[:_NUM_EDGES]
    i_E, j_E, strength_E = i_E[order], j_E[order], strength_E[order]
    shown = np.unique(np.concatenate([i_E, j_E]))
    first_E, second_E = np.searchsorted(shown, i_E), np.searchsorted(shown, j_E)
    places = layout(len(shown), first_E, second_E, strength_E)
    return Picture(
        labels=[(texts[label], int(num_works_L[label]), *places[row].tolist()) for row, label in enumerate(shown.tolist())],
        edges=list(zip(first_E.tolist(), second_E.tolist(), strength_E.tolist(), strict=True)),
    )


def layout(
    num_labels: int, first_E: NDArray[np.int64], second_E: NDArray[np.int64], strength_E: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give N places in the unit square: edges pull, all labels push each other away."""
    if num_labels == 0:
        return np.zeros((0, 2))
    angle_N = 2 * np.pi * np.arange(num_labels) / num_labels
    place_N2 = np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1)
    reach = 1.5 / np.sqrt(num_labels)
    for step in range(_NUM_STEPS):
        apart = place_N2[:, None] - place_N2[None, :]
        distance = np.maximum(np.sqrt((apart**2).sum(axis=-1)), _LEAST_DISTANCE)
        force_N2 = (apart / distance[..., None] ** 2 * reach**2).sum(axis=1) - _PULL_TO_CENTRE * reach * place_N2
        along = place_N2[second_E] - place_N2[first_E]
        pull = along * (np.sqrt((along**2).sum(axis=1)) * (0.5 + strength_E) / reach)[:, None]
        np.add.at(force_N2, first_E, pull)
        np.add.at(force_N2, second_E, -pull)
        size_N = np.maximum(np.sqrt((force_N2**2).sum(axis=1)), _LEAST_DISTANCE)
        step_N = np.minimum(size_N, 0.2 * (1 - step / _NUM_STEPS))
        place_N2 = (place_N2 + force_N2 / size_N[:, None] * step_N[:, None]).round(8)  # machines differ in the last bits
    low, high = place_N2.min(axis=0), place_N2.max(axis=0)
    return np.asarray(((place_N2 - low) / np.maximum(high - low, _LEAST_DISTANCE)).round(_ROUNDED_TO))
