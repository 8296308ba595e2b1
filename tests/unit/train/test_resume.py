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
def test_a_training_goes_from_two_processes_to_one_and_back_as_close_as_uninterrupted_ones_of_one_and_two(
    world: World, tmp_path: Path, stage: int
):
    """What rounding alone makes of this world's random works is the measure; test_parity.py has the bar on a calmer one."""
    settings = SETTINGS.model_copy(update={"zero_stage": stage, "num_processes": 2, "checkpoint_every": 4, "keep_checkpoints": 1})
    alone = settings.model_copy(update={"num_processes": 1})
    trainings = {"two": settings, "one": alone, "parts": settings}
    two, one, parts = (Training(world, tmp_path / name, of) for name, of in trainings.items())
    two.finish()
    one.finish()
    kill_at(parts, 4)
    parts.settings = alone
    kill_at(parts, 8)
    parts.settings = settings
    parts.finish()
    expected = list(two.losses().values())
    rounding = relative_difference(list(one.losses().values()), expected)
    assert relative_difference(list(parts.losses().values()), expected) <= max(BAR, 4 * rounding)
