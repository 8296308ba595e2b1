"""Label graph: which labels occur together on works, how likely one is where the other is, and the adjacency a graph network reads.

p_ij = P(j | i) = works with i and j / works with i, so p_ij and p_ji differ. Neighbours of i are the j whose p reaches tau.
Legend: L labels, E work-label entries, G directed edges, LL from row i to column j, A stored entries of a sparse adjacency, L1 = L + 1.
Source: ML-GCN (Chen et al., 2019, equations 4 to 7) and its official code (megvii-research/ML-GCN, util.py, gen_A and gen_adj).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reelspace.signals.settings import GraphSettings
from reelspace.signals.vocabulary import Labels

_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class LabelGraph:
    """G edges in the order of (i, j), i != j, each pair in both directions; p_ij = count_ij / works of i."""

    i_G: NDArray[np.int64]
    j_G: NDArray[np.int64]
    count_G: NDArray[np.int64]
    p_G: NDArray[np.float32]

    def numbered(self, id_L: NDArray[np.int64]) -> "LabelGraph":
        """The same edges with label l named id_L[l], in the order of the new names."""
        i_G, j_G = id_L[self.i_G], id_L[self.j_G]
        order = np.lexsort((j_G, i_G))
        return LabelGraph(i_G[order], j_G[order], self.count_G[order], self.p_G[order])


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Which of G edges reach tau."""

    tau: float
    is_kept_G: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SparseAdjacency:
    """The non-zero entries of an adjacency, by (row, column): those of row i lie from start_L1[i] up to start_L1[i + 1]."""

    start_L1: NDArray[np.int64]
    column_A: NDArray[np.int64]
    value_A: NDArray[np.float32]


def label_graph(labels: Labels, settings: GraphSettings) -> LabelGraph:
    """Count the works that pairs of labels share."""
    num_labels = len(labels.texts)
    codes, counts = np.unique(_pair_codes(labels, num_labels), return_counts=True)
    enough = counts >= settings.min_count
    first, second, count = codes[enough] // max(num_labels, 1), codes[enough] % max(num_labels, 1), counts[enough].astype(np.int64)
    i_G, j_G, count_G = np.concatenate([first, second]), np.concatenate([second, first]), np.concatenate([count, count])
    p_G = (count_G / np.maximum(labels.num_works_L()[i_G], 1)).round(_DECIMALS).astype(np.float32)
    return LabelGraph(i_G, j_G, count_G, p_G).numbered(np.arange(num_labels, dtype=np.int64))


def _pair_codes(labels: Labels, num_labels: int) -> NDArray[np.int64]:
    """i * L + j for every work and every i < j on it; entries lie by work, so partners are `distance` rows apart."""
    codes = []
    row = np.arange(len(labels.work_E))
    distance = 1
    while len(row):
        row = row[row + distance < len(labels.work_E)]
        row = row[labels.work_E[row] == labels.work_E[row + distance]]
        codes.append(labels.label_E[row] * num_labels + labels.label_E[row + distance])
        distance += 1
    return np.concatenate([*codes, np.zeros(0, dtype=np.int64)])


def read_graph(directory: Path, label_ids: Sequence[int]) -> LabelGraph:
    """Read the edges among some labels of a `labels` artifact, each label named by its place in `label_ids`."""
    table = pq.read_table(directory / "graph.parquet")
    place = {label_id: number for number, label_id in enumerate(label_ids)}
    i_G, j_G = (np.array([place.get(label_id, -1) for label_id in table[name].to_pylist()], dtype=np.int64) for name in ("i", "j"))
    inside = (i_G >= 0) & (j_G >= 0)
    graph = LabelGraph(i_G[inside], j_G[inside], table["count"].to_numpy()[inside], table["p_ij"].to_numpy()[inside])
    return graph.numbered(np.arange(len(label_ids), dtype=np.int64))


def neighbours(graph: LabelGraph, num_labels: int, settings: GraphSettings) -> Neighbours:
    """Choose tau, if no setting gives it, and the edges that reach it.

    With symmetry "max" or "mean", that of p_ij and p_ji is compared, so i is a neighbour of j when j is one of i.
    """
    p_G = _compared(graph, settings)
    tau = choose_tau(p_G, settings.mean_neighbours * num_labels) if settings.tau is None else settings.tau
    return Neighbours(tau, p_G >= tau)


def choose_tau(p_G: NDArray[np.float64], num_wanted: float) -> float:
    """Give the value of p at which the number of edges with at least that p comes nearest to the wanted one.

    Edges of equal p stay together. Of two values as near, the higher is given; without edges it is 1.
    """
    if not len(p_G):
        return 1.0
    values, counts = np.unique(p_G, return_counts=True)
    num_kept = np.cumsum(counts[::-1].astype(np.int64))
    return float(values[::-1][np.argmin(np.abs(num_kept - num_wanted))])


def graph_facts(graph: LabelGraph, num_labels: int, settings: GraphSettings) -> Mapping[str, object]:
    """Tell tau and how dense the graph is with it, for graph.json."""
    found = neighbours(graph, num_labels, settings)
    num_kept = int(found.is_kept_G.sum())
    return {
        "num_labels": num_labels,
        "num_edges": len(graph.i_G),
        "symmetry": settings.symmetry,
        "tau": found.tau,
        "num_edges_kept": num_kept,
        "mean_neighbours": round(num_kept / max(num_labels, 1), 4),
        "mean_neighbours_wanted": settings.mean_neighbours if settings.tau is None else None,
        "num_labels_without_neighbours": num_labels - len(np.unique(graph.i_G[found.is_kept_G])),
    }


def adjacency(graph: LabelGraph, num_labels: int, settings: GraphSettings) -> NDArray[np.float32]:
    """Give the normalised adjacency LL that multiplies the label vectors: new vectors = LeakyReLU(adjacency @ vectors @ W).

    Args:
        graph: its labels are 0 to num_labels - 1; `read_graph` gives it for the labels that a model knows.

    Returns:
        float32, non-negative, finite; row i says what label i takes from itself and from its neighbours.
        A label without neighbours takes from itself alone.

    Units: shares without unit; rows sum to about 1. Cost: L * L numbers of 8 bytes while computing, of 4 afterwards.
    Source: Chen et al., 2019; `variant` chooses its paper or its official code, which reads the edges against their direction.
    """
    kept = neighbours(graph, num_labels, settings).is_kept_G
    links_LL = np.zeros((num_labels, num_labels), dtype=bool)
    links_LL[graph.i_G[kept], graph.j_G[kept]] = True
    return _VARIANTS[settings.variant](links_LL, settings.neighbour_share)


def sparse_adjacency(graph: LabelGraph, num_labels: int, settings: GraphSettings) -> SparseAdjacency:
    """Give the numbers of `adjacency` without its zeros, for more labels than L x L numbers have room.

    Args:
        graph: its labels are 0 to num_labels - 1, its edges in order, none twice.

    Returns:
        Every label has at least one entry, its own.

    Units: shares without unit. Cost: about 80 bytes for each entry while computing, 12 afterwards.
    Source: as in `adjacency`.
    """
    kept = neighbours(graph, num_labels, settings).is_kept_G
    i_G, j_G, share = graph.i_G[kept], graph.j_G[kept], settings.neighbour_share
    if settings.variant == "paper":
        own, weight_G = 1 - share, share / np.bincount(i_G, minlength=num_labels)[i_G]
    else:
        own, weight_G = 1.0, share / (1 - share) / np.bincount(j_G, minlength=num_labels)[j_G]
    labels_L = np.arange(num_labels, dtype=np.int64)
    row_A, column_A = np.concatenate([i_G, labels_L]), np.concatenate([j_G, labels_L])
    weight_A = np.concatenate([weight_G, np.full(num_labels, own)])
    degree_L = np.bincount(row_A, weight_A, minlength=num_labels)
    if settings.variant == "official":
        row_A, column_A = column_A, row_A
    order = np.lexsort((column_A, row_A))
    row_A, column_A, weight_A = row_A[order], column_A[order], weight_A[order]
    value_A = weight_A / np.sqrt(degree_L)[row_A] / np.sqrt(degree_L)[column_A]
    start_L1 = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.bincount(row_A, minlength=num_labels), dtype=np.int64)])
    return SparseAdjacency(start_L1, column_A, value_A.astype(np.float32))


def paper_adjacency(links_LL: NDArray[np.bool_], neighbour_share: float) -> NDArray[np.float32]:
    """D^-1/2 A' D^-1/2 of the paper's A', D being the row sums of A'."""
    weights_LL = paper_weights(links_LL, neighbour_share)
    return _scaled(weights_LL, weights_LL.sum(axis=1))


def official_adjacency(links_LL: NDArray[np.bool_], neighbour_share: float) -> NDArray[np.float32]:
    """D^-1/2 A'^T D^-1/2 of the official code's A', D being the row sums of A' before it is transposed."""
    weights_LL = official_weights(links_LL, neighbour_share)
    return _scaled(weights_LL.T, weights_LL.sum(axis=1))


def paper_weights(links_LL: NDArray[np.bool_], neighbour_share: float) -> NDArray[np.float64]:
    """A' of the paper: share p spread over the neighbours in a row, 1 - p on the diagonal (equation 6)."""
    num_neighbours_L = np.maximum(links_LL.sum(axis=1), 1)
    weights_LL: NDArray[np.float64] = neighbour_share * links_LL / num_neighbours_L[:, None]
    np.fill_diagonal(weights_LL, 1 - neighbour_share)
    return weights_LL


def official_weights(links_LL: NDArray[np.bool_], neighbour_share: float) -> NDArray[np.float64]:
    """A' of the official code: p / (1 - p), there 0.25, spread over a column, plus the identity.

    It is the transpose of the paper's A' of the transposed links, divided by 1 - p.
    """
    num_pointing_L = np.maximum(links_LL.sum(axis=0), 1)
    weights_LL: NDArray[np.float64] = neighbour_share / (1 - neighbour_share) * links_LL / num_pointing_L[None, :]
    np.fill_diagonal(weights_LL, 1.0)
    return weights_LL


_VARIANTS: Mapping[str, Callable[[NDArray[np.bool_], float], NDArray[np.float32]]] = {
    "paper": paper_adjacency,
    "official": official_adjacency,
}


def _scaled(weights_LL: NDArray[np.float64], degree_L: NDArray[np.float64]) -> NDArray[np.float32]:
    scaled_LL: NDArray[np.float64] = weights_LL / np.sqrt(degree_L)[:, None] / np.sqrt(degree_L)[None, :]
    return scaled_LL.astype(np.float32)


def _compared(graph: LabelGraph, settings: GraphSettings) -> NDArray[np.float64]:
    """What is compared with tau, rounded as written: a float32 alone may lie below the decimal it stands for."""
    p_G = graph.p_G.astype(np.float64).round(_DECIMALS)
    if settings.symmetry == "directed":
        return p_G
    back_G = p_G[np.lexsort((graph.i_G, graph.j_G))]  # edges lie by (i, j) and both ways, so this order puts (j, i) at the place of (i, j)
    both = np.maximum(p_G, back_G) if settings.symmetry == "max" else (p_G + back_G) / 2
    return both.round(_DECIMALS)
