"""Distillation: the student moves into its teacher's space, the teacher stays as it is."""

import pytest
import torch

from reelspace.core.errors import SettingError
from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings
from reelspace.train.batches import make_batch
from reelspace.train.distillation import DistillObjective
from reelspace.train.settings import DistillSettings
from tests.unit.train.builders import make_data, make_tokenizer, model_settings

SETTINGS = DistillSettings(batch_size=12, seed=3)


def make_model(seed: int, settings: ModelSettings | None = None) -> ReelModel:
    torch.manual_seed(seed)
    return ReelModel(settings or model_settings(make_tokenizer(make_data())))


def test_a_student_equal_to_its_teacher_has_no_feature_loss() -> None:
    data = make_data()
    objective = DistillObjective(make_model(0), make_model(0), SETTINGS)
    _, parts = objective(make_batch(data, make_tokenizer(data), SETTINGS, 0, 0, 1))
    assert parts["loss_feature"].item() == pytest.approx(0, abs=1e-5)
    assert parts["loss_similarity"].item() == pytest.approx(0, abs=1e-5)


def test_the_teacher_is_neither_trained_nor_saved() -> None:
    student, teacher = make_model(0), make_model(1)
    objective = DistillObjective(student, teacher, SETTINGS)
    assert len(list(objective.parameters())) == len(list(student.parameters()))
    assert set(objective.state_dict()) == {f"model.{name}" for name in student.state_dict()}
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_training_brings_the_student_to_its_teacher() -> None:
    data = make_data()
    tokenizer = make_tokenizer(data)
    objective = DistillObjective(make_model(0), make_model(1), SETTINGS)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    losses = []
    for step in range(25):
        loss, parts = objective(make_batch(data, tokenizer, SETTINGS, step, 0, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(parts["loss_feature"].item())
    assert losses[-1] < 0.5 * losses[0]


def test_a_student_of_another_space_is_refused() -> None:
    teacher = make_model(0)
    other = teacher.settings.model_copy(update={"dimension": 16})
    with pytest.raises(SettingError, match="dimension is 16, expected the teacher's: 24"):
        DistillObjective(make_model(1, other), teacher, SETTINGS)
