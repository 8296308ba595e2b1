"""The label-graph head against the paper's formula in numpy over the whole graph. Legend: K labels, D dimension, H hidden, S labels."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from reelspace.core.rng import rng
from reelspace.model.label_graph import LabelGraphNetwork, SparseRows, sparse_rows
from reelspace.signals.label_graph import LabelGraph, sparse_adjacency
from reelspace.signals.settings import GraphSettings

K, D, H = 30, 8, 12
Floats = NDArray[np.float64]


def dense_matrix() -> Floats:
    """Three groups of ten labels; rows of 1 to 6 entries with the diagonal, no edge between groups, not symmetric."""
    draw = rng(3, "matrix")
    group_K = np.arange(K) // 10
    links = (draw.random((K, K)) < 0.3) & (group_K[:, None] == group_K[None, :]) | np.eye(K, dtype=bool)
    return np.where(links, draw.uniform(0.05, 1.0, (K, K)), 0.0).astype(np.float32).astype(np.float64)


def rows_of(matrix_KK: Floats) -> SparseRows:
    columns = [np.flatnonzero(row) for row in matrix_KK]
    start = np.concatenate([[0], np.cumsum([len(each) for each in columns])]).astype(np.int64)
    column = np.concatenate(columns).astype(np.int64)
    value = np.concatenate([row[each] for row, each in zip(matrix_KK, columns, strict=True)]).astype(np.float32)
    return sparse_rows(start, column, value)


def as_dense(rows: SparseRows) -> Floats:
    start = rows.start_K1.numpy()
    matrix = np.zeros((len(start) - 1, len(start) - 1))
    for row in range(len(matrix)):
        inside = slice(int(start[row]), int(start[row + 1]))
        matrix[row, rows.column_E.numpy()[inside]] = rows.value_E.numpy()[inside]
    return matrix


def network(residual: bool) -> LabelGraphNetwork:
    made = LabelGraphNetwork(D, H, rows_of(dense_matrix()), residual=residual)
    with torch.no_grad():
        made.first.copy_(torch.from_numpy(rng(1, "first").standard_normal((D, H)) * 0.5))
        made.second.copy_(torch.from_numpy(rng(1, "second").standard_normal((H, D)) * 0.5))
    return made


def label_vectors() -> Floats:
    vectors = rng(2, "vectors").standard_normal((K, D))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32).astype(np.float64)


def by_the_paper(matrix_KK: Floats, h0_KD: Floats, made: LabelGraphNetwork) -> Floats:
    """Equations 2 and 3 over the whole graph, in float64."""
    first, second = (weight.detach().double().numpy() for weight in (made.first, made.second))
    mixed = matrix_KK @ h0_KD @ first
    h2_KD = matrix_KK @ np.where(mixed > 0, mixed, 0.2 * mixed) @ second
    if not made.residual:
        return h2_KD
    whole = h0_KD + h2_KD
    return whole / np.linalg.norm(whole, axis=1, keepdims=True)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("labels", [list(range(K)), [4], [17, 3, 17, 29, 0], []])
def test_classifiers_of_any_labels_are_their_rows_of_the_papers_formula(residual: bool, labels: list[int]) -> None:
    made, h0_KD = network(residual), label_vectors()
    found = made(torch.from_numpy(h0_KD).float(), torch.tensor(labels, dtype=torch.int64)).detach().numpy()
    assert found.shape == (len(labels), D)
    assert found.dtype == np.float32
    assert np.allclose(found, by_the_paper(dense_matrix(), h0_KD, made)[labels], atol=1e-5)


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_the_adjacency_of_the_label_graph_goes_straight_into_the_network(variant: str) -> None:
    i_G, j_G = np.array([0, 0, 1, 1, 2, 2]), np.array([1, 2, 0, 2, 0, 1])
    graph = LabelGraph(i_G, j_G, np.full(6, 3), np.array([0.5, 0.1, 0.9, 0.5, 0.2, 0.7], dtype=np.float32))
    settings = GraphSettings.model_validate({"tau": 0.5, "variant": variant})
    arrays = sparse_adjacency(graph, 4, settings)
    made = LabelGraphNetwork(D, H, sparse_rows(arrays.start_L1, arrays.column_A, arrays.value_A), residual=False)
    h0_KD = label_vectors()[:4]
    links = np.array([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=float)
    if variant == "paper":
        a = 0.2 * links / np.maximum(links.sum(axis=1, keepdims=True), 1) + 0.8 * np.eye(4)
        normal = a / np.sqrt(a.sum(axis=1))[:, None] / np.sqrt(a.sum(axis=1))[None, :]
    else:
        a = 0.25 * links / np.maximum(links.sum(axis=0, keepdims=True), 1) + np.eye(4)
        normal = (a / np.sqrt(a.sum(axis=1))[:, None] / np.sqrt(a.sum(axis=1))[None, :]).T
    found = made(torch.from_numpy(h0_KD).float(), torch.arange(4)).detach().numpy()
    assert np.allclose(found, by_the_paper(normal, h0_KD, made), atol=1e-5)


@pytest.mark.parametrize("residual", [False, True])
def test_gradients_are_those_of_finite_differences(residual: bool) -> None:
    made, h0_KD, matrix_KK = network(residual), label_vectors(), dense_matrix()
    inputs, labels, aim = torch.from_numpy(h0_KD).float().requires_grad_(), [5, 21, 5, 8], rng(4, "aim").standard_normal((4, D))
    (made(inputs, torch.tensor(labels)) * torch.from_numpy(aim).float()).sum().backward()

    def loss(at_KD: Floats) -> float:
        return float((by_the_paper(matrix_KK, at_KD, made)[labels] * aim).sum())

    step = 1e-5
    for weight in (made.first, made.second):
        assert weight.grad is not None
        for place in [(0, 0), (3, 5), (7, 2)]:
            kept, sides = weight.data.clone(), []
            weight.data = weight.data.double()
            for sign in (1, -1):
                weight.data[place] = kept[place].double() + sign * step
                sides.append(loss(h0_KD))
            weight.data = kept
            assert float(weight.grad[place]) == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-3, abs=1e-4)
    assert inputs.grad is not None
    for label in range(K):
        moved = np.zeros((K, D))
        moved[label, 2] = step
        slope = (loss(h0_KD + moved) - loss(h0_KD - moved)) / (2 * step)
        assert float(inputs.grad[label, 2]) == pytest.approx(slope, rel=1e-3, abs=1e-4)
    assert (inputs.grad[10:20] == 0).all()  # no label of the second group was asked for
    assert (inputs.grad[:10] != 0).any()


@pytest.mark.parametrize("residual", [False, True])
def test_a_table_of_label_vectors_is_read_only_at_neighbours_of_neighbours(residual: bool) -> None:
    made, h0_KD, matrix_KK = network(residual), label_vectors(), dense_matrix()
    table, read = torch.from_numpy(h0_KD).float(), []

    def rows(labels_N: Tensor) -> Tensor:
        assert len(labels_N.unique()) == len(labels_N)
        read.extend(labels_N.tolist())
        return table[labels_N]

    labels = torch.tensor([12, 15])
    assert torch.equal(made(rows, labels), made(table, labels))
    links = (matrix_KK > 0).astype(int)
    near = np.flatnonzero((links @ links)[[12, 15]].sum(axis=0))
    assert set(read) == set(near.tolist())
    assert 2 < len(near) < K


def test_rows_that_were_not_asked_for_cannot_change_the_answer() -> None:
    made, table, labels = network(False), torch.from_numpy(label_vectors()).float(), torch.tensor([1, 2])
    spoilt = table.clone()
    spoilt[10:] = torch.nan
    assert torch.equal(made(table, labels), made(spoilt, labels))


def test_with_the_residual_training_starts_at_each_labels_own_vector_and_both_layers_learn() -> None:
    torch.manual_seed(0)
    made, table = LabelGraphNetwork(D, H, rows_of(dense_matrix()), residual=True), torch.from_numpy(label_vectors()).float()
    labels = torch.arange(K)
    assert torch.allclose(made(table, labels), table, atol=1e-6)
    first, second = made.first.detach().clone(), made.second.detach().clone()
    optimiser = torch.optim.SGD(made.parameters(), lr=0.5)
    goal = table.roll(1, dims=0)
    losses = []
    for _ in range(30):
        loss = (1 - (made(table, labels) * goal).sum(dim=1)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.05
    assert not torch.allclose(made.first, first)
    assert not torch.allclose(made.second, second)


@pytest.mark.parametrize("residual", [False, True])
def test_terms_sum_to_the_classifier(residual: bool) -> None:
    made, table = network(residual), torch.from_numpy(label_vectors()).float()
    for label in (0, 14, 29):
        terms = made.terms(table, label)
        assert terms.column_J.tolist() == np.flatnonzero(dense_matrix()[label]).tolist()
        assert np.allclose(terms.value_J.numpy(), dense_matrix()[label][terms.column_J.numpy()])
        assert torch.allclose(terms.classifier_D, made(table, torch.tensor([label]))[0], atol=1e-5)
        assert bool(terms.own_D.any()) == residual


def test_autocast_and_bfloat16_parameters_leave_sums_in_float32_and_the_adjacency_exact() -> None:
    made, table, labels = network(False), torch.from_numpy(label_vectors()).float(), torch.arange(K)
    alone = made(table, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = made(table, labels)
        inside.sum().backward()
    assert torch.equal(inside, alone)
    assert made.first.grad is not None
    made.to(torch.bfloat16)
    assert made.first.dtype == torch.bfloat16
    assert torch.equal(made.adjacency.value_E, rows_of(dense_matrix()).value_E)
    assert made(table, labels).dtype == torch.float32
    assert np.allclose(made(table, labels).detach().numpy(), by_the_paper(dense_matrix(), label_vectors(), made), atol=1e-5)


def test_a_checkpoint_holds_the_two_layers_alone_and_loads_for_other_labels() -> None:
    made = network(False)
    assert {name: tuple(value.shape) for name, value in made.state_dict().items()} == {"first": (D, H), "second": (H, D)}
    fewer = LabelGraphNetwork(D, H, rows_of(dense_matrix()[:10, :10]), residual=False)
    fewer.load_state_dict(made.state_dict())
    h0_KD = label_vectors()
    found = fewer(torch.from_numpy(h0_KD[:10]).float(), torch.arange(10)).detach().numpy()
    assert np.allclose(found, by_the_paper(dense_matrix(), h0_KD, made)[:10], atol=1e-5)


@pytest.mark.parametrize("most", [0, 1, 2, 100])
def test_a_cap_keeps_the_label_itself_and_the_largest_others_of_each_row(most: int) -> None:
    matrix_KK = dense_matrix()
    matrix_KK[3] = 0  # a row without any entry
    matrix_KK[4, 4] = 0  # a row without its own entry
    wanted = np.zeros((K, K))
    for row in range(K):
        others = sorted((column for column in np.flatnonzero(matrix_KK[row]) if column != row), key=lambda c: (-matrix_KK[row, c], c))
        for column in [row, *others[:most]]:
            wanted[row, column] = matrix_KK[row, column]
    assert np.array_equal(as_dense(rows_of(matrix_KK).strongest(most)), wanted)
    tied = np.ones((4, 4))
    assert as_dense(rows_of(tied).strongest(1)).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]]


@pytest.mark.parametrize("label", [-1, K])
def test_a_label_that_does_not_exist_is_an_error_and_not_another_row(label: int) -> None:
    with pytest.raises((IndexError, RuntimeError)):
        network(False)(torch.from_numpy(label_vectors()).float(), torch.tensor([label]))


def test_label_vectors_of_another_vocabulary_are_refused() -> None:
    with pytest.raises(AssertionError, match=r"29 rows.*30 labels"):
        network(False)(torch.from_numpy(label_vectors()[:29]).float(), torch.tensor([0]))


@pytest.mark.parametrize(
    ("start", "column"), [([0, 1], [0, 1]), ([1, 2], [0, 0]), ([0, 2, 1], [0]), ([0, 1], [1]), ([0, 1], [-1])], ids=str
)
def test_arrays_that_are_no_square_matrix_are_refused(start: list[int], column: list[int]) -> None:
    with pytest.raises(AssertionError):
        sparse_rows(np.array(start, dtype=np.int64), np.array(column, dtype=np.int64), np.ones(len(column), dtype=np.float32))
