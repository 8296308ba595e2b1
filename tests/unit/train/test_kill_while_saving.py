"""SIGKILL at random moments of saving: the training always goes on from the newest whole checkpoint, to the same losses."""

import json
import os
import secrets
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from reelspace.train.train_log import LOG_FILE
from tests.unit.train import saving
from tests.unit.train.test_launcher import LIMIT_S, SETTINGS, Training, is_running
from tests.unit.train.worlds import write_world

# A save is over before the signal comes now and then: such kills are not counted.
MAX_TRIES = 5


@pytest.fixture
def draw() -> np.random.Generator:
    seed = int(os.environ.get("REELSPACE_TEST_SEED") or secrets.randbits(32))
    print(f"REELSPACE_TEST_SEED={seed}")
    return np.random.default_rng(seed)


def losses(run: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (run / LOG_FILE).read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return {row["step"]: row["loss"] for row in rows}


def kill_and_resume(root: Path, num_kills: int, draw: np.random.Generator) -> None:
    steps = 2 * MAX_TRIES * num_kills
    whole, parts = root / "whole", root / "parts"
    process = saving.start(whole, steps)
    duration_s = saving.save_duration_s(whole / "unfinished", process.is_alive)
    process.join()
    assert process.exitcode == 0
    num_cut = num_tries = 0
    while num_cut < num_kills:
        num_tries += 1
        assert num_tries <= MAX_TRIES * num_kills
        expected = saving.newest_whole(parts / "checkpoints")
        process = saving.start(parts, steps)
        saving.wait_until_in_a_save(parts / "unfinished", process.is_alive, int(draw.integers(1, 3)), draw.uniform(0, duration_s))
        assert process.pid is not None
        saving.kill(process.pid)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert saving.resumed_at((parts / "told").read_text()) == expected
        num_cut += saving.count_cut(parts / "unfinished")
    expected = saving.newest_whole(parts / "checkpoints")
    process = saving.start(parts, steps)
    process.join(saving.LIMIT_S)
    assert process.exitcode == 0
    assert saving.resumed_at((parts / "told").read_text()) == expected
    assert losses(parts) == losses(whole)
    print(f"{num_cut} of {num_tries} kills cut a save of {duration_s * 1e3:.1f} ms, {expected} of {steps} steps done by then")


def test_a_training_killed_three_times_inside_saves_ends_with_the_losses_of_an_uninterrupted_one(tmp_path: Path, draw: np.random.Generator):
    kill_and_resume(tmp_path, 3, draw)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_training_killed_twenty_times_inside_saves_ends_with_the_losses_of_an_uninterrupted_one(
    tmp_path: Path, draw: np.random.Generator
):
    kill_and_resume(tmp_path, 20, draw)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_processes_with_zero_2_of_which_one_or_all_are_killed_ten_times_inside_saves_end_with_the_same_losses(
    tmp_path: Path, draw: np.random.Generator
):
    steps, num_kills = 60, 10
    world = write_world(tmp_path / "world")
    settings = SETTINGS.model_copy(update={"num_processes": 2, "zero_stage": 2, "steps": steps, "checkpoint_every": 1})
    whole, parts = Training(world, tmp_path / "whole", settings), Training(world, tmp_path / "parts", settings)
    process = whole.start()
    duration_s = saving.save_duration_s(whole.run / ".unfinished", partial(is_running, process.pid))
    _, told = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, told
    num_cut = num_tries = 0
    while num_cut < num_kills:
        num_tries += 1
        assert num_tries <= 3 * num_kills
        expected = saving.newest_whole(parts.run / "checkpoints")
        killed = parts.start()
        unfinished = parts.run / ".unfinished"
        saving.wait_until_in_a_save(unfinished, partial(is_running, killed.pid), int(draw.integers(1, 3)), draw.uniform(0, duration_s))
        workers = parts.worker_pids()
        victims = [[workers[0]], [workers[1]], [*workers.values(), killed.pid]][int(draw.integers(3))]
        for pid in victims:
            saving.kill(pid)
        _, told = killed.communicate(timeout=LIMIT_S)
        assert killed.returncode == (-signal.SIGKILL if killed.pid in victims else 75), told
        assert saving.resumed_at(told) == expected
        num_cut += saving.count_cut(unfinished)
    expected = saving.newest_whole(parts.run / "checkpoints")
    last = parts.start()
    _, told = last.communicate(timeout=LIMIT_S)
    assert last.returncode == 0, told
    assert saving.resumed_at(told) == expected
    assert parts.losses() == whole.losses()
    assert sorted(parts.losses()) == list(range(1, steps + 1))
    print(f"{num_cut} of {num_tries} kills cut a save of {duration_s * 1e3:.1f} ms, {expected} of {steps} steps done by then")
