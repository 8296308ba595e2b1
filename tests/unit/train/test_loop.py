"""A resumed training equals an uninterrupted one; it stops when asked, and when nothing can come of it."""

import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reelspace.core.errors import TemporaryError, UserError
from reelspace.train.batches import Batch
from reelspace.train.loop import MAX_SKIPPED_IN_A_ROW, Loop
from reelspace.train.train_log import LOG_FILE
from tests.unit.train.engines import trained_weights
from tests.unit.train.loops import SETTINGS, make_loop


def losses(run: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (run / LOG_FILE).read_text().splitlines()]
    assert len({row["step"] for row in rows}) == len(rows)
    return {row["step"]: row["loss"] for row in rows}


def stopped_at(loop: Loop, step: int) -> Loop:
    """The same loop, in which SIGTERM comes while the batch of `step` is made."""

    def batches(asked: int) -> Batch:
        if asked == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return loop.make_batch(asked)

    return replace(loop, make_batch=batches)


def test_a_training_stopped_by_sigterm_resumes_to_the_same_losses_and_weights(tmp_path: Path):
    whole, parts = make_loop(tmp_path / "whole"), make_loop(tmp_path / "parts")
    whole.fit()
    with pytest.raises(TemporaryError, match="after step 4 of 6"):
        stopped_at(parts, 3).fit()
    resumed = make_loop(tmp_path / "parts")
    resumed.fit()
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    for name, weight in whole.engine.weights().items():
        assert torch.equal(weight, resumed.engine.weights()[name]), name


def test_lines_logged_after_the_checkpoint_that_a_resume_takes_are_told_once(tmp_path: Path):
    broken = make_loop(tmp_path)

    def batches(asked: int) -> Batch:
        if asked == 5:
            raise KeyboardInterrupt
        return broken.make_batch(asked)

    with pytest.raises(KeyboardInterrupt):
        replace(broken, make_batch=batches).fit()
    with (tmp_path / LOG_FILE).open("a") as file:
        file.write('{"step": 6, "lo')
    make_loop(tmp_path).fit()
    assert sorted(losses(tmp_path)) == [1, 2, 3, 4, 5, 6]


def test_batches_without_a_finite_loss_are_skipped_and_many_in_a_row_stop_the_run(tmp_path: Path):
    loop = make_loop(tmp_path, SETTINGS.model_copy(update={"steps": 50, "checkpoint_every": 50}))
    before = trained_weights(loop.engine)
    with torch.no_grad():
        loop.engine.weights()["label_head.scale"].fill_(float("nan"))
    with pytest.raises(UserError, match=rf"{MAX_SKIPPED_IN_A_ROW} steps in a row.*learning_rate"):
        loop.fit()
    after = loop.engine.weights()
    assert all(torch.equal(before[name], after[name]) for name in before if name != "label_head.scale")
    lines = [json.loads(line) for line in (tmp_path / LOG_FILE).read_text().splitlines()]
    assert [line["loss"] for line in lines] == [None] * (MAX_SKIPPED_IN_A_ROW - 1)
    assert lines[-1]["num_skipped"] == MAX_SKIPPED_IN_A_ROW - 1


def test_skipped_steps_stay_counted_after_a_resume(tmp_path: Path):
    loop = make_loop(tmp_path)
    loop.num_skipped = 3
    with pytest.raises(TemporaryError):
        stopped_at(loop, 1).fit()
    resumed = make_loop(tmp_path)
    resumed.fit()
    assert resumed.num_skipped == 3


def test_figures_go_out_by_the_callback_as_they_are_logged(tmp_path: Path):
    reported: dict[int, Mapping[str, float]] = {}
    loop = make_loop(tmp_path, SETTINGS.model_copy(update={"log_every": 4}))
    replace(loop, report=lambda step, figures: reported.update({step: figures})).fit()
    assert sorted(reported) == [4, 6]
    assert {"loss", "loss_nt_xent", "loss_video_text", "loss_labels", "learning_rate", "samples_per_s"} <= set(reported[6])
    assert reported[6]["samples_per_s"] > 0
    assert losses(tmp_path) == {step: figures["loss"] for step, figures in reported.items()}


def test_progress_lines_have_the_pace_the_losses_the_learning_rate_and_the_time_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    loop = make_loop(tmp_path, SETTINGS.model_copy(update={"steps": 25, "checkpoint_every": 25}))

    def batches(asked: int) -> Batch:
        # Lines come once a second.
        time.sleep(0.1)
        return loop.make_batch(asked)

    replace(loop, make_batch=batches).fit()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    first, last = lines[0], lines[-1]
    assert {"loss", "loss_video_text", "learning_rate"} <= set(first)
    # Steps of 8 works that take 0.1 s and more.
    assert 0 < first["samples_per_s"] <= 80
    assert first["left_s"] >= 0.1 * (25 - first["done"])
    assert (last["what"], last["done"], last["total"]) == ("train", 25, 25)
    assert "left_s" not in last


def test_sigterm_means_what_it_meant_before_once_the_training_is_over(tmp_path: Path):
    before = signal.getsignal(signal.SIGTERM)
    make_loop(tmp_path).fit()
    assert signal.getsignal(signal.SIGTERM) is before
