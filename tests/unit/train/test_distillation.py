"""Distillation: the student moves into its teacher's space, towards the answers that the teacher gave once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reelspace.core.errors import SettingError
from reelspace.model.losses import Rows
from reelspace.train.batches import make_batch
from reelspace.train.distillation import DistillObjective, label_divergence
from reelspace.train.teacher_outputs import TeacherLabels
from tests.unit.exchange import Exchange
from tests.unit.train.builders import make_data, make_tokenizer
from tests.unit.train.students import SETTINGS, make_model, outputs_of


def test_a_student_equal_to_its_teacher_has_no_loss(tmp_path: Path) -> None:
    data = make_data()
    objective = DistillObjective(make_model(0), outputs_of(tmp_path, make_model(0)), SETTINGS).eval()
    for step in range(3):
        _, parts = objective(make_batch(data, make_tokenizer(data), SETTINGS, step, 0, 1))
        assert set(parts) == {"loss_feature", "loss_similarity", "loss_labels"}
        for name, part in parts.items():
            assert part.item() == pytest.approx(0, abs=1e-5), name


def test_the_answers_are_neither_trained_nor_saved(tmp_path: Path) -> None:
    student = make_model(0)
    objective = DistillObjective(student, outputs_of(tmp_path, make_model(1)), SETTINGS)
    assert len(list(objective.parameters())) == len(list(student.parameters()))
    assert set(objective.state_dict()) == {f"model.{name}" for name in student.state_dict()}


def test_training_brings_the_student_and_its_labels_to_its_teacher(tmp_path: Path) -> None:
    data = make_data()
    tokenizer = make_tokenizer(data)
    objective = DistillObjective(make_model(0), outputs_of(tmp_path, make_model(1)), SETTINGS)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    seen = []
    for step in range(25):
        loss, parts = objective(make_batch(data, tokenizer, SETTINGS, step, 0, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(parts)
    for name in ("loss_feature", "loss_labels"):
        assert seen[-1][name].item() < 0.5 * seen[0][name].item(), name


def test_what_the_teacher_does_not_say_teaches_nothing(tmp_path: Path) -> None:
    data = make_data()
    outputs = outputs_of(tmp_path, make_model(1))
    batch = make_batch(data, make_tokenizer(data), SETTINGS, 0, 0, 1)
    silent = set(batch.ids_B[:4].tolist())
    vectors = {kind: values.copy() for kind, values in outputs.vectors_VND.items()}
    for values in vectors.values():
        values[:, [video_id in silent for video_id in outputs.ids_N.tolist()]] = 0
    student = make_model(0)
    loss, _ = DistillObjective(student, replace(outputs, vectors_VND=vectors), SETTINGS).eval()(batch)
    loss.backward()
    # The independent answer: the same works, without those four from the start.
    rest = replace(
        batch,
        **{
            name: getattr(batch, name)[4:]
            for name in ("ids_B", "picture_mask_BF", "mel_BWM", "audio_mask_B", "text_BL", "text_mask_BL", "target_BL", "target_mask_BL")
        },
        views_VBFHWC=batch.views_VBFHWC[:, 4:],
    )
    other = make_model(0)
    expected, _ = DistillObjective(other, outputs, SETTINGS).eval()(rest)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for one, two in zip(student.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-3, atol=1e-5)


def test_two_processes_give_the_loss_and_gradient_of_one(tmp_path: Path) -> None:
    data, outputs = make_data(), outputs_of(tmp_path, make_model(1))
    tokenizer = make_tokenizer(data)
    whole, *ranks = (DistillObjective(make_model(0), outputs, SETTINGS).eval() for _ in range(3))
    loss, _ = whole(make_batch(data, tokenizer, SETTINGS, 0, 0, 1))
    loss.backward()
    exchange = Exchange(2)

    def local_loss(rank: int) -> Tensor:
        ranks[rank].gather, ranks[rank].rank = exchange.gather_of(rank), rank
        local, _ = ranks[rank](make_batch(data, tokenizer, SETTINGS, 0, rank, 2))
        return local

    with ThreadPoolExecutor(2) as threads:
        average = torch.stack(list(threads.map(local_loss, range(2)))).mean()
    average.backward()
    torch.testing.assert_close(average, loss, atol=2e-5, rtol=0)
    for one, two, expected in zip(*(objective.parameters() for objective in (*ranks, whole)), strict=True):
        gradient = sum((part.grad for part in (one, two) if part.grad is not None), torch.zeros_like(one))
        torch.testing.assert_close(gradient, expected.grad, atol=2e-4, rtol=1e-3)


def test_label_divergence_is_the_sum_over_labels_of_the_bernoulli_divergence() -> None:
    labels = TeacherLabels(torch.eye(3), torch.tensor([0.5, 0.0, -0.5]), torch.tensor([2.0]))
    student, teacher = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([[0.0, 0.6, 0.8], [0.0, 0.0, 0.0]])
    p, q = (torch.sigmoid(2 * vectors + labels.bias_K)[0].double() for vectors in (teacher, student))
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum()
    # The second work's teacher says nothing.
    assert label_divergence(labels, student, teacher, Rows()).item() == pytest.approx(expected.item(), rel=1e-5)


def test_without_labels_of_the_teacher_the_student_learns_vectors_alone(tmp_path: Path) -> None:
    data = make_data()
    objective = DistillObjective(make_model(0), outputs_of(tmp_path, make_model(1), with_labels=False), SETTINGS)
    _, parts = objective(make_batch(data, make_tokenizer(data), SETTINGS, 0, 0, 1))
    assert set(parts) == {"loss_feature", "loss_similarity"}


def test_a_student_of_another_space_is_refused(tmp_path: Path) -> None:
    teacher = make_model(0)
    other = teacher.settings.model_copy(update={"dimension": 16})
    with pytest.raises(SettingError, match="dimension is 16, expected the teacher's: 24"):
        DistillObjective(make_model(1, other), outputs_of(tmp_path, teacher), SETTINGS)
