"""Trainings of two processes under every ZeRO stage: killed half-way they go on to the same bits, also with other numbers of processes."""

import os
import signal
from pathlib import Path

import pytest

from tests.unit.train.engines import relative_difference
from tests.unit.train.parity import BAR
from tests.unit.train.test_launcher import SETTINGS, Training, wait_for
from tests.unit.train.worlds import World, write_world

NUM_STEPS = 40
pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("world"))


def kill_at(training: Training, step: int) -> None:
    """Train until a checkpoint has appeared, then SIGKILL all at once."""
    process = training.start()
    wait_for(lambda: step in training.checkpoints(), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_twenty_steps_a_kill_and_twenty_steps_are_forty_straight_ones_bit_for_bit(world: World, tmp_path: Path, stage: int):
    settings = SETTINGS.model_copy(update={"num_processes": 2, "zero_stage": stage, "steps": NUM_STEPS, "checkpoint_every": 20})
    whole, parts = Training(world, tmp_path / "whole", settings), Training(world, tmp_path / "parts", settings)
    whole.finish()
    kill_at(parts, 20)
    parts.finish()
    assert sorted(parts.losses()) == list(range(1, NUM_STEPS + 1))
    assert parts.losses() == whole.losses()
    assert (parts.out / "model.safetensors").read_bytes() == (whole.out / "model.safetensors").read_bytes()


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_training_goes_from_two_processes_to_one_and_back(world: World, tmp_path: Path, stage: int):
    settings = SETTINGS.model_copy(update={"zero_stage": stage, "num_processes": 2, "checkpoint_every": 4, "keep_checkpoints": 1})
    whole, parts = Training(world, tmp_path / "whole", settings), Training(world, tmp_path / "parts", settings)
    whole.finish()
    kill_at(parts, 4)
    parts.settings = settings.model_copy(update={"num_processes": 1})
    kill_at(parts, 8)
    parts.settings = settings
    parts.finish()
    expected = whole.losses()
    assert relative_difference([parts.losses()[step] for step in sorted(expected)], list(expected.values())) <= BAR
