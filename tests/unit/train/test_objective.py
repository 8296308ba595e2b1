"""The pretraining objective against formulas written out by hand, and against itself in two processes' worth of rows."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from reelspace.model.model import ReelModel
from reelspace.train.batches import make_batch
from reelspace.train.objective import PretrainObjective
from reelspace.train.settings import ObjectiveSettings, TrainSettings, without_crowd
from tests.unit.train.builders import make_data, make_tokenizer, model_settings

SETTINGS = TrainSettings(batch_size=12, seed=3)


def make_objective(num_labels: int = 4, settings: ObjectiveSettings = SETTINGS.objective) -> PretrainObjective:
    torch.manual_seed(0)
    return PretrainObjective(ReelModel(model_settings(make_tokenizer(make_data()))), num_labels, settings)


class Exchange:
    """Ranks as threads: rows are put together in rank order, and gradients flow back to their owner."""

    def __init__(self, num_ranks: int) -> None:
        self._barrier = threading.Barrier(num_ranks, timeout=60)
        self._parts: list[Tensor] = [torch.empty(0)] * num_ranks

    def gather_of(self, rank: int) -> Callable[[Tensor], Tensor]:
        def gather(part: Tensor) -> Tensor:
            self._parts[rank] = part
            self._barrier.wait()
            whole = torch.cat(self._parts)
            self._barrier.wait()
            return whole

        return gather


def unit_rows(draw: np.random.Generator, num: int, dimension: int) -> Tensor:
    rows = draw.normal(size=(num, dimension))
    return torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True)).float()


@pytest.mark.parametrize("settings", [SETTINGS, without_crowd(SETTINGS)], ids=["crowd", "without_crowd"])
def test_two_processes_give_the_loss_and_gradient_of_one(settings: TrainSettings) -> None:
    data = make_data(crowd=settings.crowd)
    tokenizer = make_tokenizer(make_data())
    whole = make_objective(data.labels_NK.shape[1], settings.objective)
    loss, _ = whole(make_batch(data, tokenizer, settings, 0, 0, 1))
    loss.backward()
    exchange = Exchange(2)
    ranks = [make_objective(data.labels_NK.shape[1], settings.objective) for _ in range(2)]

    def local_loss(rank: int) -> Tensor:
        ranks[rank].gather, ranks[rank].rank = exchange.gather_of(rank), rank
        local, _ = ranks[rank](make_batch(data, tokenizer, settings, 0, rank, 2))
        return local

    with ThreadPoolExecutor(2) as threads:
        losses = list(threads.map(local_loss, range(2)))
    average = torch.stack(losses).mean()
    average.backward()
    torch.testing.assert_close(average, loss, atol=2e-5, rtol=0)
    for (name, one), (_, two), (_, expected) in zip(*(objective.named_parameters() for objective in (*ranks, whole)), strict=True):
        gradient = sum((part.grad for part in (one, two) if part.grad is not None), torch.zeros_like(one))
        torch.testing.assert_close(gradient, expected.grad, atol=2e-4, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


def test_info_nce_equals_the_formula_over_allowed_pairs() -> None:
    draw = np.random.default_rng(0)
    video, text = unit_rows(draw, 5, 6), unit_rows(draw, 5, 6)
    valid = np.array([True, True, False, True, True])
    conflict = np.zeros((5, 5), dtype=bool)
    conflict[0, 3] = conflict[3, 0] = True
    found = make_objective()._info_nce(video, text, torch.from_numpy(valid), torch.from_numpy(conflict))
    logits = (video @ text.T).numpy().astype(np.float64) / 0.1
    rows = []
    for matrix in (logits, logits.T):
        for row in np.flatnonzero(valid):
            allowed = valid & ~conflict[row]
            rows.append(-matrix[row, row] + np.log(np.exp(matrix[row, allowed]).sum()))
    assert found.item() == pytest.approx(np.mean(rows), abs=1e-4)


def test_nt_xent_equals_the_formula_over_both_views() -> None:
    draw = np.random.default_rng(0)
    views = [unit_rows(draw, 4, 24), unit_rows(draw, 4, 24)]
    objective = make_objective()
    found = objective._nt_xent(views, torch.ones(4, dtype=torch.bool))
    with torch.no_grad():
        both = torch.cat([objective.project(view) for view in views]).numpy().astype(np.float64)
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    similar = np.exp(both @ both.T / 0.2)
    np.fill_diagonal(similar, 0)
    rows = [-np.log(similar[row, (row + 4) % 8] / similar[row].sum()) for row in range(8)]
    assert found.item() == pytest.approx(np.mean(rows), abs=1e-4)


def test_works_without_labels_do_not_move_the_label_head() -> None:
    draw = np.random.default_rng(0)
    vectors = unit_rows(draw, 3, 24)
    labels = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1.0, 0]])
    objective = make_objective()
    whole = objective._multi_label(vectors, labels)
    vectors[1] = -vectors[1]
    torch.testing.assert_close(objective._multi_label(vectors, labels), whole)


def test_every_parameter_gets_a_gradient_in_both_arms() -> None:
    for settings in (SETTINGS, without_crowd(SETTINGS)):
        data = make_data(crowd=settings.crowd)
        objective = make_objective(data.labels_NK.shape[1], settings.objective)
        loss, parts = objective(make_batch(data, make_tokenizer(make_data()), settings, 0, 0, 1))
        loss.backward()
        assert [name for name, parameter in objective.named_parameters() if parameter.grad is None] == []
        assert set(parts) == {"loss_nt_xent", "loss_video_text", "loss_labels"}


def test_twenty_steps_lower_the_loss() -> None:
    data = make_data()
    tokenizer, objective = make_tokenizer(data), make_objective()
    optimizer = torch.optim.AdamW(objective.parameters(), lr=2e-3)
    losses = []
    for step in range(20):
        loss, _ = objective(make_batch(data, tokenizer, SETTINGS, step, 0, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-4:]) < 0.85 * np.mean(losses[:4])
