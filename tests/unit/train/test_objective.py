"""The pretraining objective against the sum of its parts, and against itself in two processes' worth of rows."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from reelspace.train.batches import make_batch
from reelspace.train.engine import gradient_norms
from reelspace.train.group import Group
from reelspace.train.settings import TrainSettings, without_crowd
from reelspace.train.word_masks import KeywordMasks, make_masks
from tests.unit.exchange import Exchange
from tests.unit.train.builders import make_data, make_objective, make_tokenizer

SETTINGS = TrainSettings(batch_size=12, seed=3)


def masks_of(settings: TrainSettings) -> KeywordMasks | None:
    data = make_data(crowd=bool(settings.crowd))
    return make_masks(data, make_tokenizer(make_data()), settings)


@pytest.mark.parametrize("settings", [SETTINGS, without_crowd(SETTINGS)], ids=["crowd", "without_crowd"])
def test_two_processes_give_the_loss_and_gradient_of_one(settings: TrainSettings) -> None:
    data = make_data(crowd=bool(settings.crowd))
    tokenizer, masks = make_tokenizer(make_data()), masks_of(settings)
    whole = make_objective(settings, data)
    loss, _ = whole(make_batch(data, tokenizer, settings, 0, 0, 1, masks))
    loss.backward()
    exchange = Exchange(2)
    ranks = [make_objective(settings, data) for _ in range(2)]

    def local_loss(rank: int) -> Tensor:
        ranks[rank].gather, ranks[rank].rank = exchange.gather_of(rank), rank
        local, _ = ranks[rank](make_batch(data, tokenizer, settings, 0, rank, 2, masks))
        return local

    with ThreadPoolExecutor(2) as threads:
        losses = list(threads.map(local_loss, range(2)))
    average = torch.stack(losses).mean()
    average.backward()
    torch.testing.assert_close(average, loss, atol=2e-5, rtol=0)
    for (name, one), (_, two), (_, expected) in zip(*(objective.named_parameters() for objective in (*ranks, whole)), strict=True):
        gradient = sum((part.grad for part in (one, two) if part.grad is not None), torch.zeros_like(one))
        torch.testing.assert_close(gradient, expected.grad, atol=2e-4, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


def test_the_loss_is_the_weighted_sum_of_its_parts() -> None:
    data, objective = make_data(), make_objective(SETTINGS)
    loss, parts = objective(make_batch(data, make_tokenizer(data), SETTINGS, 0, 0, 1, masks_of(SETTINGS)))
    assert set(parts) == {"loss_nt_xent", "loss_video_text", "loss_video_sound", "loss_keywords", "loss_labels"}
    weights = {name: getattr(SETTINGS.objective, name.removeprefix("loss_")) for name in parts}
    assert loss.item() == pytest.approx(sum(weights[name] * part.item() for name, part in parts.items()), rel=1e-5)


@pytest.mark.parametrize("name", ["nt_xent", "video_text", "video_sound", "keywords", "labels"])
def test_each_loss_can_be_switched_off_with_all_it_needs(name: str) -> None:
    settings = SETTINGS.model_copy(update={"objective": SETTINGS.objective.model_copy(update={name: 0.0})})
    data, objective = make_data(), make_objective(settings)
    loss, parts = objective(make_batch(data, make_tokenizer(data), settings, 0, 0, 1, masks_of(settings)))
    loss.backward()
    assert f"loss_{name}" not in parts
    assert len(parts) == 4
    assert [name for name, parameter in objective.named_parameters() if parameter.grad is None] == []


def test_a_work_without_labels_does_not_move_the_loss_of_labels() -> None:
    data, objective = make_data(), make_objective(SETTINGS)
    batch = make_batch(data, make_tokenizer(data), SETTINGS, 0, 0, 1, masks_of(SETTINGS))
    unlabelled_B = ~(batch.labels_BS > 0).any(dim=1)
    assert unlabelled_B.any()
    views = batch.views_VBFHWC.clone()
    views[:, unlabelled_B] = 0
    found, changed = (objective(part)[1] for part in (batch, replace(batch, views_VBFHWC=views)))
    torch.testing.assert_close(found["loss_labels"], changed["loss_labels"])
    assert abs(found["loss_video_text"].item() - changed["loss_video_text"].item()) > 1e-4


def test_classifiers_follow_the_text_tower_at_the_steps_of_the_schedule_only() -> None:
    data, objective = make_data(), make_objective(SETTINGS)
    every = SETTINGS.objective.refresh_labels_every
    seen = []
    for step in (0, 1, every):
        with torch.no_grad():
            objective.model.text.token.weight.add_(torch.randn(objective.model.text.token.weight.shape))
        objective(make_batch(data, make_tokenizer(data), SETTINGS, step, 0, 1, masks_of(SETTINGS)))
        seen.append(objective.state_dict()["label_head.inputs_KD"].clone())
    assert torch.equal(seen[0], seen[1])
    assert not torch.allclose(seen[1], seen[2])


def test_every_parameter_gets_a_gradient_in_both_arms() -> None:
    for settings in (SETTINGS, without_crowd(SETTINGS)):
        data = make_data(crowd=bool(settings.crowd))
        objective = make_objective(settings, data)
        loss, _ = objective(make_batch(data, make_tokenizer(make_data()), settings, 0, 0, 1, masks_of(settings)))
        loss.backward()
        assert [name for name, parameter in objective.named_parameters() if parameter.grad is None] == []


def test_twenty_steps_lower_the_loss() -> None:
    data = make_data()
    tokenizer, objective, masks = make_tokenizer(data), make_objective(SETTINGS), masks_of(SETTINGS)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=2e-3)
    losses = []
    for step in range(20):
        loss, _ = objective(make_batch(data, tokenizer, SETTINGS, step, 0, 1, masks))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-4:]) < 0.85 * np.mean(losses[:4])


def test_the_gradient_norm_of_each_part_is_that_of_its_own_backward_pass() -> None:
    data, objective = make_data(), make_objective(SETTINGS)
    batch = make_batch(data, make_tokenizer(data), SETTINGS, 0, 0, 1, masks_of(SETTINGS))
    objective.measures = True
    objective(batch)
    found = gradient_norms(objective, Group())
    objective.measures = False
    for name in ("nt_xent", "video_text", "video_sound", "keywords", "labels"):
        objective.zero_grad()
        objective(batch)[1][f"loss_{name}"].backward()
        gradients = [weight.grad for weight in objective.shared_weights() if weight.grad is not None]
        assert found[f"gradient_norm_{name}"] == pytest.approx(torch.cat(gradients).norm().item(), rel=1e-4)
        assert found[f"gradient_norm_{name}"] > 0
    assert gradient_norms(objective, Group()) == {}
