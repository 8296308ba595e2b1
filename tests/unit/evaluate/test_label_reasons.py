"""Reasons of labels on 200 works, against the paper's formula in numpy. Legend: K labels, D dimension, H hidden."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from reelspace.core.errors import UserError
from reelspace.core.rng import rng
from reelspace.evaluate.label_reasons import LabelledWork, label_reasons
from reelspace.model.label_graph import LabelGraphNetwork, sparse_rows
from reelspace.signals.label_graph import LabelGraph, sparse_adjacency
from reelspace.signals.settings import GraphSettings

K, D, H = 12, 6, 10
HAS = rng(2, "works").random((200, K)) < np.linspace(0.6, 0.1, K)
TABLE = torch.from_numpy(rng(2, "texts").standard_normal((K, D))).float()
WORK = LabelledWork(torch.nn.functional.normalize(torch.from_numpy(rng(2, "work").standard_normal(D)).float(), dim=0), frozenset({0, 3, 5}))


def counted_graph() -> LabelGraph:
    together = HAS.T.astype(np.int64) @ HAS
    i_G, j_G = np.nonzero(~np.eye(K, dtype=bool) & (together > 0))
    count_G = together[i_G, j_G]
    return LabelGraph(i_G, j_G, count_G, (count_G / HAS.sum(axis=0)[i_G]).astype(np.float32))


def network_of(graph: LabelGraph, residual: bool, variant: str = "paper") -> LabelGraphNetwork:
    arrays = sparse_adjacency(graph, K, GraphSettings.model_validate({"tau": 0.3, "variant": variant}))
    made = LabelGraphNetwork(D, H, sparse_rows(arrays.start_L1, arrays.column_A, arrays.value_A), residual=residual)
    with torch.no_grad():
        made.first.copy_(torch.from_numpy(rng(1, "first").standard_normal((D, H)) * 0.5))
        made.second.copy_(torch.from_numpy(rng(1, "second").standard_normal((H, D)) * 0.5))
    return made


def whole_graph(made: LabelGraphNetwork) -> tuple[np.ndarray, Callable[[int, int], np.ndarray]]:
    """Classifiers KD, and term(l, j) = A[l, j] H1[j] W2 (over the same length), in float64."""
    rows, h0 = made.adjacency, TABLE.double().numpy()
    a = np.zeros((K, K))
    for row in range(K):
        inside = slice(int(rows.start_K1[row]), int(rows.start_K1[row + 1]))
        a[row, rows.column_E[inside].numpy()] = rows.value_E[inside].numpy()
    first, second = (weight.detach().double().numpy() for weight in (made.first, made.second))
    mixed = a @ h0 @ first
    h1 = np.where(mixed > 0, mixed, 0.2 * mixed)
    whole = a @ h1 @ second + (h0 if made.residual else 0)
    length = np.linalg.norm(whole, axis=1) if made.residual else np.ones(K)
    return whole / length[:, None], lambda label, j: a[label, j] * h1[j] @ second / length[label]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("variant", ["paper", "official"])
def test_what_the_edges_add_sums_to_the_logit_and_their_shares_to_one(residual: bool, variant: str) -> None:
    graph = counted_graph()
    made = network_of(graph, residual, variant)
    classifier_KD, term = whole_graph(made)
    x = WORK.vector_D.double().numpy()
    for label in range(K):
        found = label_reasons(made, TABLE, graph, WORK, label)
        assert found.logit == pytest.approx(classifier_KD[label] @ x, abs=1e-5)
        assert found.own_adds + sum(edge.adds for edge in found.edges) == pytest.approx(found.logit, abs=1e-5)
        assert found.own_share + sum(edge.share for edge in found.edges) == pytest.approx(1, abs=1e-5)
        assert (found.own_adds != 0) == residual
        for edge in found.edges:
            part = term(label, edge.neighbour)
            assert edge.adds == pytest.approx(part @ x, abs=1e-5)
            assert edge.share == pytest.approx(part @ classifier_KD[label] / (classifier_KD[label] @ classifier_KD[label]), abs=1e-4)
            assert edge.logit == pytest.approx(classifier_KD[edge.neighbour] @ x, abs=1e-5)
            assert edge.has == (edge.neighbour in {0, 3, 5})
        assert [edge.adds for edge in found.edges] == sorted((edge.adds for edge in found.edges), reverse=True)


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_edges_carry_the_shares_of_works_in_both_directions(variant: str) -> None:
    graph = counted_graph()
    made = network_of(graph, False, variant)
    num_edges = 0
    for label in range(K):
        for edge in label_reasons(made, TABLE, graph, WORK, label).edges:
            if edge.neighbour == label:
                assert edge.p_neighbour is edge.p_label is None
                continue
            num_edges += 1
            both = HAS[:, label] & HAS[:, edge.neighbour]
            assert edge.p_neighbour == pytest.approx(both.sum() / HAS[:, label].sum())
            assert edge.p_label == pytest.approx(both.sum() / HAS[:, edge.neighbour].sum())
            # The paper's row l holds the labels likely where l is; the official code's holds those where l is likely.
            assert (edge.p_neighbour if variant == "paper" else edge.p_label) >= 0.3
    assert num_edges > K


def test_the_strongest_reasons_speak_for_the_label_and_are_shown_by_the_work() -> None:
    graph = counted_graph()
    made = network_of(graph, True)
    kept = left = 0
    for label in range(K):
        found = label_reasons(made, TABLE, graph, WORK, label)
        middle = float(np.median([edge.logit for edge in found.edges]))
        wanted = [
            edge
            for edge in found.edges
            if edge.neighbour != label and edge.adds > 0 and (edge.neighbour in WORK.labels or edge.logit >= middle)
        ]
        assert found.strongest(2, middle) == tuple(wanted[:2])
        assert found.strongest(0, middle) == ()
        kept, left = kept + len(wanted), left + len(found.edges) - len(wanted)
    assert kept > 0 < left


def test_a_graph_of_other_labels_is_refused() -> None:
    graph = counted_graph()
    made = network_of(graph, False)
    fewer = graph.i_G + graph.j_G > 8
    other = LabelGraph(graph.i_G[fewer], graph.j_G[fewer], graph.count_G[fewer], graph.p_G[fewer])
    with pytest.raises(UserError, match="give the graph of the labels"):
        label_reasons(made, TABLE, other, WORK, 1)
