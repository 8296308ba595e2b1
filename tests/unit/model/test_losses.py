"""The losses of pretraining against their formulas in float64 numpy, alone and split over several processes.

Legend: B rows of one process, G all rows, D dimension, K labels, N masked tokens, V vocabulary.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from reelspace.model.losses import (
    Rows,
    info_nce,
    masked_language,
    matryoshka_info_nce,
    multi_label,
    negative_importance,
    nt_xent,
    token_losses,
)
from tests.unit.exchange import Exchange

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
NUM, DIMENSION, TEMPERATURE = 6, 8, 0.2
VALID = np.array([True, True, False, True, True, False])
# Of two or three processes, the last has no valid row.
LOPSIDED = np.array([True, True, True, False, False, False])
PROCESSES = pytest.mark.parametrize("num_processes", [1, 2, 3])


def split(num_processes: int, local_loss: Callable[[slice, Rows], Tensor], num: int = NUM) -> Tensor:
    """The average over processes of the loss each computes from its slice of num rows."""
    exchange, size = Exchange(num_processes), num // num_processes

    def run(rank: int) -> Tensor:
        return local_loss(slice(rank * size, (rank + 1) * size), Rows(exchange.gather_of(rank), rank))

    with ThreadPoolExecutor(num_processes) as threads:
        return torch.stack(list(threads.map(run, range(num_processes)))).mean()


def unit_rows(seed: int, num: int = NUM, dimension: int = DIMENSION) -> Tensor:
    rows = np.random.default_rng(seed).normal(size=(num, dimension))
    return torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True)).requires_grad_()


def some_conflicts() -> Flags:
    conflicts = np.zeros((NUM, NUM), dtype=bool)
    for one, two in ((0, 3), (1, 4), (2, 3)):
        conflicts[one, two] = conflicts[two, one] = True
    return conflicts


def flags(values: Flags) -> Tensor:
    return torch.from_numpy(values)


def array(x: Tensor) -> Array:
    return x.detach().double().numpy()


def nt_xent_by_hand(one: Array, two: Array, valid: Flags) -> float:
    views = np.concatenate([one[valid], two[valid]])
    num = int(valid.sum())
    losses = []
    for i in range(2 * num):
        similar = np.exp(views @ views[i] / TEMPERATURE)
        losses.append(-np.log(similar[(i + num) % (2 * num)] / (similar.sum() - similar[i])))
    return float(np.mean(losses))


def info_nce_by_hand(left: Array, right: Array, valid: Flags, conflicts: Flags) -> float:
    losses = []
    for one, other in ((left, right), (right, left)):
        for i in np.flatnonzero(valid):
            rivals = [j for j in np.flatnonzero(valid) if j == i or not conflicts[i, j]]
            similar = np.exp(one[i] @ other.T / TEMPERATURE)
            losses.append(-np.log(similar[i] / similar[rivals].sum()))
    return float(np.mean(losses))


def matryoshka_by_hand(left: Array, right: Array, prefixes: list[int], valid: Flags, conflicts: Flags) -> float:
    losses = []
    for prefix in [*prefixes, left.shape[1]]:
        cut = [side[:, :prefix] / np.sqrt((side[:, :prefix] ** 2).sum(axis=1, keepdims=True)) for side in (left, right)]
        losses.append(info_nce_by_hand(cut[0], cut[1], valid, conflicts))
    return float(np.mean(losses))


def masked_tokens(logits: Tensor, target: Tensor, rows: Rows) -> Tensor:
    """The loss of one work whose every token is masked."""
    is_masked = torch.ones(1, len(target), dtype=torch.bool)
    return masked_language(token_losses(logits, target, is_masked), is_masked.sum(dim=1), rows)


def masked_language_by_hand(logits: Array, target: NDArray[np.int64]) -> float:
    return float(np.mean([np.log(np.exp(row).sum()) - row[token] for row, token in zip(logits, target, strict=True)]))


def multi_label_by_hand(logits: Array, labels: Array, negative_weights: Array, counted: Flags, positive_weight: float) -> float:
    sums = []
    for i in np.flatnonzero(counted):
        total = 0.0
        for k in range(logits.shape[1]):
            probability = 1 / (1 + np.exp(-logits[i, k]))
            if labels[i, k] > 0:
                total -= positive_weight * labels[i, k] * np.log(probability)
            else:
                total -= negative_weights[i, k] * np.log(1 - probability)
        sums.append(total)
    return float(np.mean(sums))


def assert_same_gradients(loss: Tensor, expected: Tensor, *inputs: Tensor) -> None:
    found = torch.autograd.grad(loss, inputs)
    for gradient, wanted in zip(found, torch.autograd.grad(expected, inputs), strict=True):
        assert wanted.abs().max() > 1e-4
        torch.testing.assert_close(gradient, wanted, atol=1e-12, rtol=0)


@PROCESSES
@pytest.mark.parametrize("valid", [np.ones(NUM, dtype=bool), VALID, LOPSIDED], ids=["all", "some", "lopsided"])
def test_nt_xent_is_the_formula_over_the_valid_rows_of_all_processes(num_processes: int, valid: Flags) -> None:
    one, two = unit_rows(0), unit_rows(1)
    loss = split(num_processes, lambda own, rows: nt_xent(one[own], two[own], flags(valid)[own], TEMPERATURE, rows))
    assert loss.item() == pytest.approx(nt_xent_by_hand(array(one), array(two), valid), abs=1e-7)
    assert_same_gradients(loss, nt_xent(one, two, flags(valid), TEMPERATURE, Rows()), one, two)


@PROCESSES
@pytest.mark.parametrize("valid", [np.ones(NUM, dtype=bool), VALID, LOPSIDED], ids=["all", "some", "lopsided"])
@pytest.mark.parametrize("conflicts", [np.zeros((NUM, NUM), dtype=bool), some_conflicts()], ids=["none", "conflicts"])
def test_info_nce_is_the_formula_over_allowed_pairs_of_all_processes(num_processes: int, valid: Flags, conflicts: Flags) -> None:
    left, right = unit_rows(0), unit_rows(1)

    def local_loss(own: slice, rows: Rows) -> Tensor:
        return info_nce(left[own], right[own], flags(valid)[own], flags(conflicts)[own], TEMPERATURE, rows)

    loss = split(num_processes, local_loss)
    assert loss.item() == pytest.approx(info_nce_by_hand(array(left), array(right), valid, conflicts), abs=1e-7)
    assert_same_gradients(loss, local_loss(slice(None), Rows()), left, right)


def test_a_row_is_its_own_positive_even_if_it_conflicts_with_itself() -> None:
    left, right, valid = unit_rows(0), unit_rows(1), np.ones(NUM, dtype=bool)
    loss = info_nce(left, right, flags(valid), flags(some_conflicts() | np.eye(NUM, dtype=bool)), TEMPERATURE, Rows())
    assert loss.item() == pytest.approx(info_nce_by_hand(array(left), array(right), valid, some_conflicts()), abs=1e-7)


def test_gradient_of_info_nce_is_softmax_minus_target_times_the_other_side() -> None:
    left, right = unit_rows(0), unit_rows(1)
    nothing = np.zeros((NUM, NUM), dtype=bool)
    info_nce(left, right, flags(np.ones(NUM, dtype=bool)), flags(nothing), TEMPERATURE, Rows()).backward()
    similar = np.exp(array(left) @ array(right).T / TEMPERATURE)
    to_right, to_left = similar / similar.sum(axis=1, keepdims=True), similar / similar.sum(axis=0, keepdims=True)
    pull = (to_right + to_left - 2 * np.eye(NUM)) / (2 * NUM * TEMPERATURE)
    np.testing.assert_allclose(left.grad, pull @ array(right), atol=1e-12)
    np.testing.assert_allclose(right.grad, pull.T @ array(left), atol=1e-12)


@PROCESSES
def test_matryoshka_is_the_mean_of_info_nce_over_renormalised_prefixes(num_processes: int) -> None:
    left, right, prefixes = unit_rows(0), unit_rows(1), [2, 4]

    def local_loss(own: slice, rows: Rows) -> Tensor:
        return matryoshka_info_nce(left[own], right[own], prefixes, flags(VALID)[own], flags(some_conflicts())[own], TEMPERATURE, rows)

    loss = split(num_processes, local_loss)
    assert loss.item() == pytest.approx(matryoshka_by_hand(array(left), array(right), prefixes, VALID, some_conflicts()), abs=1e-7)
    assert_same_gradients(loss, local_loss(slice(None), Rows()), left, right)


def test_matryoshka_refuses_a_prefix_that_is_the_whole_vector() -> None:
    left, valid = unit_rows(0), flags(VALID)
    with pytest.raises(AssertionError, match=r"prefixes from 1 to 7, got \[4, 8\]"):
        matryoshka_info_nce(left, left, [4, DIMENSION], valid, flags(some_conflicts()), TEMPERATURE, Rows())


@pytest.mark.parametrize("parts", [[7], [4, 3], [5, 0, 2]], ids=str)
def test_masked_language_is_the_mean_over_the_masked_tokens_of_all_processes(parts: list[int]) -> None:
    draw = np.random.default_rng(0)
    logits = torch.from_numpy(draw.normal(scale=3, size=(7, 11))).requires_grad_()
    target = torch.from_numpy(draw.integers(11, size=7))
    ends = np.cumsum([0, *parts])

    def local_loss(process: slice, rows: Rows) -> Tensor:
        own = slice(ends[process.start], ends[process.stop])
        return masked_tokens(logits[own], target[own], rows)

    loss = split(len(parts), local_loss, num=len(parts))
    assert loss.item() == pytest.approx(masked_language_by_hand(array(logits), target.numpy()), abs=1e-7)
    assert_same_gradients(loss, masked_tokens(logits, target, Rows()), logits)


def test_a_process_without_masked_tokens_has_a_zero_that_reaches_its_parameters() -> None:
    head = torch.nn.Linear(4, 11)
    loss = masked_tokens(head(torch.empty(0, 4)), torch.empty(0, dtype=torch.int64), Rows())
    loss.backward()
    assert loss.item() == 0
    assert head.weight.grad is not None
    assert head.weight.grad.tolist() == [[0.0] * 4] * 11


def test_each_work_has_the_sum_over_its_own_masked_tokens() -> None:
    logits = torch.randn(3, 5, dtype=torch.float64)
    is_masked = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
    target = torch.tensor([4, 0, 2])
    each = [-torch.log_softmax(logits[n], dim=0)[target[n]].item() for n in range(3)]
    assert token_losses(logits, target, is_masked).tolist() == pytest.approx([each[0] + each[1], 0.0, each[2]])


def some_labels(seed: int = 0, num_labels: int = 5) -> tuple[Tensor, Tensor, Tensor, Flags]:
    """Logits, weighted labels, negative weights with missing labels, and the rows that count."""
    draw = np.random.default_rng(seed)
    logits = torch.from_numpy(draw.normal(scale=2, size=(NUM, num_labels))).requires_grad_()
    labels = draw.uniform(0.2, 3, size=(NUM, num_labels)) * (draw.uniform(size=(NUM, num_labels)) < 0.4)
    labels[:, 0], labels[VALID, 0] = 0, 1.5
    negative_weights = draw.choice([0.0, 1.0, 2.5], size=(NUM, num_labels))
    return logits, torch.from_numpy(labels), torch.from_numpy(negative_weights), VALID


@PROCESSES
@pytest.mark.parametrize("counted", [VALID, LOPSIDED], ids=["some", "lopsided"])
def test_multi_label_is_the_weighted_formula_over_the_counted_rows_of_all_processes(num_processes: int, counted: Flags) -> None:
    logits, labels, negative_weights, _ = some_labels()

    def local_loss(own: slice, rows: Rows) -> Tensor:
        return multi_label(logits[own], labels[own], negative_weights[own], flags(counted)[own], 5.0, rows)

    loss = split(num_processes, local_loss)
    expected = multi_label_by_hand(array(logits), array(labels), array(negative_weights), counted, 5.0)
    assert loss.item() == pytest.approx(expected, abs=1e-7)
    assert_same_gradients(loss, local_loss(slice(None), Rows()), logits)


def test_a_missing_label_gets_no_gradient_and_a_row_that_does_not_count_gets_none() -> None:
    logits, labels, negative_weights, counted = some_labels()
    multi_label(logits, labels, negative_weights, flags(counted), 5.0, Rows()).backward()
    says_something = ((array(labels) > 0) | (array(negative_weights) > 0)) & counted[:, None]
    assert logits.grad is not None
    assert (array(logits.grad) != 0).tolist() == says_something.tolist()
    assert not says_something[counted].all()


def test_multi_label_of_no_labels_is_a_zero_that_reaches_the_vectors() -> None:
    vectors = unit_rows(0)
    none = torch.empty(NUM, 0)
    loss = multi_label(vectors @ torch.empty(DIMENSION, 0, dtype=torch.float64), none, none, flags(VALID), 5.0, Rows())
    loss.backward()
    assert loss.item() == 0
    assert vectors.grad is not None
    assert vectors.grad.abs().max() == 0


@pytest.mark.parametrize("num_sampled", [1, 2, 4])
def test_loss_over_sampled_negatives_is_unbiased_over_all_samples(num_sampled: int) -> None:
    logits, labels, _, counted = some_labels(num_labels=7)
    labels[:, 3:] = 0
    kept, candidates = [0, 1, 2], [3, 4, 5, 6]
    loss_of = partial(multi_label, logits, labels, counted_B=flags(counted), positive_weight=5.0, rows=Rows())
    whole = loss_of(negative_weights_BK=torch.ones_like(labels))
    weight = negative_importance(len(candidates), num_sampled)
    losses = []
    for sample in combinations(candidates, num_sampled):
        weights_1K = torch.zeros(1, 7, dtype=torch.float64)
        weights_1K[:, kept], weights_1K[:, list(sample)] = 1, weight
        losses.append(loss_of(negative_weights_BK=weights_1K))
    estimate = torch.stack(losses).mean()
    assert estimate.item() == pytest.approx(whole.item(), abs=1e-12)
    assert_same_gradients(estimate, whole, logits)


def test_importance_refuses_a_sample_that_cannot_stand_for_its_candidates() -> None:
    for num_sampled in (0, 4):
        with pytest.raises(AssertionError, match=f"expected 1 to 3 sampled negatives, got {num_sampled}"):
            negative_importance(3, num_sampled)
    assert negative_importance(0, 0) == 1


def test_gradients_are_those_of_finite_differences() -> None:
    left, right, valid, conflicts = unit_rows(0), unit_rows(1), flags(VALID), flags(some_conflicts())
    logits, labels, negative_weights, counted = some_labels()
    target = torch.tensor([1, 0, 4, 2, 2, 3])
    gradcheck = partial(torch.autograd.gradcheck, fast_mode=True)
    assert gradcheck(lambda one, two: nt_xent(one, two, valid, TEMPERATURE, Rows()), (left, right))
    assert gradcheck(lambda one, two: info_nce(one, two, valid, conflicts, TEMPERATURE, Rows()), (left, right))
    assert gradcheck(lambda one, two: matryoshka_info_nce(one, two, [2, 4], valid, conflicts, TEMPERATURE, Rows()), (left, right))
    assert gradcheck(lambda x: masked_tokens(x, target, Rows()), (logits,))
    assert gradcheck(lambda x: multi_label(x, labels, negative_weights, flags(counted), 5.0, Rows()), (logits,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_inputs_of_low_precision_give_the_formula_of_their_rounded_values(dtype: torch.dtype) -> None:
    one, two = (unit_rows(seed).detach().to(dtype).requires_grad_() for seed in (0, 1))
    logits, labels, negative_weights, counted = some_labels()
    scores = logits.detach().to(dtype).requires_grad_()
    target = torch.tensor([1, 0, 4, 2, 2, 3])
    found = torch.stack(
        [
            nt_xent(one, two, flags(VALID), TEMPERATURE, Rows()),
            matryoshka_info_nce(one, two, [2, 4], flags(VALID), flags(some_conflicts()), TEMPERATURE, Rows()),
            masked_tokens(scores, target, Rows()),
            multi_label(scores, labels, negative_weights, flags(counted), 5.0, Rows()),
        ]
    )
    left, right = array(one), array(two)
    # The full vectors enter as they are, rounded; only the prefixes are rescaled.
    parts = [matryoshka_by_hand(left[:, :p], right[:, :p], [], VALID, some_conflicts()) for p in (2, 4)]
    expected = [
        nt_xent_by_hand(left, right, VALID),
        np.mean([*parts, info_nce_by_hand(left, right, VALID, some_conflicts())]),
        masked_language_by_hand(array(scores), target.numpy()),
        multi_label_by_hand(array(scores), array(labels), array(negative_weights), counted, 5.0),
    ]
    np.testing.assert_allclose(array(found), expected, atol=1e-5)
    found.sum().backward()
    assert all(x.grad is not None and torch.isfinite(x.grad).all() for x in (one, two, scores))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("temperature", [1e-3, 1.0])
def test_a_batch_without_any_valid_row_gives_zero_and_gradients_of_zero(dtype: torch.dtype, temperature: float) -> None:
    one, two = (unit_rows(seed).detach().to(dtype).requires_grad_() for seed in (0, 1))
    nobody = torch.zeros(NUM, dtype=torch.bool)
    # Anomaly detection sees a NaN on the way back, also where a later step would hide it.
    with torch.autograd.set_detect_anomaly(True):
        loss = nt_xent(one, two, nobody, temperature, Rows()) + info_nce(one, two, nobody, flags(some_conflicts()), temperature, Rows())
        loss.backward()
    assert loss.item() == 0
    assert all(x.grad is not None and x.grad.abs().max() == 0 for x in (one, two))


def test_an_invalid_row_moves_neither_loss_nor_gradient_of_the_others() -> None:
    losses, gradients = [], []
    for seed in (7, 8):
        one, two = unit_rows(0).detach(), unit_rows(1).detach()
        one[~VALID] = unit_rows(seed).detach()[~VALID]
        one.requires_grad_()
        arguments = (one, two, flags(VALID))
        loss = nt_xent(*arguments, TEMPERATURE, Rows()) + info_nce(*arguments, flags(some_conflicts()), TEMPERATURE, Rows())
        losses.append(loss.item())
        gradients.append(torch.autograd.grad(loss, one)[0])
    assert losses[0] == losses[1]
    torch.testing.assert_close(gradients[0], gradients[1], atol=0, rtol=0)
    assert gradients[0][~VALID].abs().max() == 0


def test_mean_of_rows_ignores_what_does_not_count_even_if_it_is_no_number() -> None:
    values = torch.tensor([1.0, 2.0, float("nan"), 6.0])
    counted = flags(np.array([True, True, False, True]))
    assert Rows().mean(values, counted).item() == 3
    assert split(2, lambda own, rows: rows.mean(values[own], counted[own]), num=4).item() == 3


def test_own_rows_stand_in_order_of_rank() -> None:
    rows = Rows(rank=2)
    assert rows.own_columns(3).tolist() == [6, 7, 8]
    assert rows.own(torch.arange(12), 3).tolist() == [6, 7, 8]
