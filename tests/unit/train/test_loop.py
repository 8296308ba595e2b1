"""A resumed training equals an uninterrupted one, and only whole checkpoints are taken up."""

import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch

from reelspace.core.errors import TemporaryError, UserError
from reelspace.model.model import ReelModel
from reelspace.train.batches import Batch, make_batch
from reelspace.train.checkpoints import Checkpoints
from reelspace.train.group import Group
from reelspace.train.heartbeat import SILENT_S, START_S, Watch, beat
from reelspace.train.loop import LOG_FILE, MAX_SKIPPED_IN_A_ROW, Loop
from reelspace.train.objective import PretrainObjective
from reelspace.train.settings import TrainSettings
from reelspace.train.torch_engine import TorchEngine
from tests.unit.train.builders import make_data, make_tokenizer, model_settings

SETTINGS = TrainSettings(steps=6, batch_size=8, checkpoint_every=2, log_every=1, engine="torch")


def make_loop(run: Path, settings: TrainSettings = SETTINGS) -> Loop:
    torch.manual_seed(0)
    data = make_data()
    tokenizer = make_tokenizer(data)
    objective = PretrainObjective(ReelModel(model_settings(tokenizer)), data.labels_NK.shape[1], settings.objective)
    batches = partial(make_batch, data, tokenizer, settings, rank=0, world_size=1)
    run.mkdir(exist_ok=True)
    return Loop(TorchEngine(objective, settings.optimizer), batches, settings, run, Group())


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

    return Loop(loop.engine, batches, loop.settings, loop.run, loop.group)


@pytest.fixture(autouse=True)
def _restore_sigterm():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


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


def test_a_damaged_checkpoint_is_passed_over_and_the_one_before_is_taken(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    loop = make_loop(tmp_path)
    checkpoints = Checkpoints(tmp_path / "checkpoints", Group())
    checkpoints.save(loop.engine, 2)
    checkpoints.save(loop.engine, 4)
    assert checkpoints.newest("torch") == (4, tmp_path / "checkpoints" / "step-00000004")
    path = tmp_path / "checkpoints" / "step-00000004" / "torch.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert checkpoints.newest("torch") == (2, tmp_path / "checkpoints" / "step-00000002")
    assert "torch.pt is damaged" in capfd.readouterr().err
    (tmp_path / "checkpoints" / "step-00000002" / "manifest.json").write_text('{"step": 2')
    assert checkpoints.newest("torch") is None


def test_a_checkpoint_of_another_layout_is_not_taken_up(tmp_path: Path):
    loop = make_loop(tmp_path)
    checkpoints = Checkpoints(tmp_path / "checkpoints", Group())
    checkpoints.save(loop.engine, 2)
    assert checkpoints.newest("deepspeed-zero1-2") is None


def test_only_the_last_two_checkpoints_are_kept(tmp_path: Path):
    loop = make_loop(tmp_path)
    checkpoints = Checkpoints(tmp_path / "checkpoints", Group())
    for step in (2, 4, 6):
        checkpoints.save(loop.engine, step)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000004", "step-00000006"]


def test_batches_without_a_finite_loss_are_skipped_and_many_in_a_row_stop_the_run(tmp_path: Path):
    loop = make_loop(tmp_path, SETTINGS.model_copy(update={"steps": 50}))
    before = {name: weight.clone() for name, weight in loop.engine.weights().items()}
    with torch.no_grad():
        loop.engine.weights()["label_scale"].fill_(float("nan"))
    with pytest.raises(UserError, match=f"{MAX_SKIPPED_IN_A_ROW} steps in a row"):
        loop.fit()
    after = loop.engine.weights()
    assert all(torch.equal(before[name], after[name]) for name in before if name != "label_scale")


def test_a_process_is_silent_after_its_last_sign_or_when_it_never_gave_one(tmp_path: Path):
    beat(tmp_path, 0)
    last = (tmp_path / "heartbeat-0").stat().st_mtime
    watch = Watch(tmp_path, 2, last - 1)
    assert watch.silent_rank(last + 1) is None
    assert watch.silent_rank(last + SILENT_S + 1) == 0
    beat(tmp_path, 0)
    assert Watch(tmp_path, 2, last - START_S).silent_rank(last + 2) == 1
