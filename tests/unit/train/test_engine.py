"""Every engine trains to the losses of the plain one, on one process and on two, and resumes to the same bits."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from reelspace.train.batches import make_batch
from reelspace.train.deepspeed_engine import DeepSpeedEngine, deepspeed_config
from reelspace.train.engine import Engine
from reelspace.train.group import Group
from reelspace.train.settings import OptimizerSettings
from reelspace.train.torch_engine import TorchEngine
from reelspace.train.word_masks import make_masks
from tests.unit.train.engines import NUM_STEPS, SETTINGS, losses_of, make_objective, trained_weights, world

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
ALONE = Group()
# Float sums in another order; ten steps of rounding.
RELATIVE_BAR = 5e-6


@pytest.fixture(scope="module", autouse=True)
def _one_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    told = {"DS_ACCELERATOR": "cpu", "LOCAL_RANK": "0"}
    os.environ.update(told)
    meeting = tmp_path_factory.mktemp("meeting") / "file"
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()
    for name in told:
        del os.environ[name]


def make_engine(name: str) -> Engine:
    if name == "torch":
        return TorchEngine(make_objective(), SETTINGS.optimizer)
    return DeepSpeedEngine(make_objective(), SETTINGS.model_copy(update={"zero_stage": int(name)}), ALONE)


@pytest.fixture(scope="module")
def torch_losses() -> list[float]:
    return losses_of(make_engine("torch"), ALONE, NUM_STEPS)


def relative_difference(ours: list[float], theirs: list[float]) -> float:
    return max(abs(one - other) / abs(other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("stage", ["0", "1", "2"])
def test_deepspeed_on_one_process_trains_to_the_losses_of_plain_torch(stage: str, torch_losses: list[float]):
    assert torch_losses[-1] < 0.9 * torch_losses[0]
    assert relative_difference(losses_of(make_engine(stage), ALONE, NUM_STEPS), torch_losses) <= RELATIVE_BAR


def test_two_processes_train_to_the_losses_and_gradients_of_one(torch_losses: list[float], tmp_path: Path):
    command = [sys.executable, "-m", "tests.unit.train.two_processes"]
    told = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "meeting")], env={**told, "LOCAL_RANK": str(rank)}, stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    answers = [process.communicate(timeout=280)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    told = json.loads(answers[0].splitlines()[-1])
    assert told["gradient_difference"] <= 1e-6
    for stage, losses in told["losses"].items():
        assert relative_difference(losses, torch_losses) <= RELATIVE_BAR, f"stage {stage}"


@pytest.mark.parametrize("name", ["torch", "1"])
def test_an_engine_resumes_to_the_same_losses_bit_for_bit(name: str, tmp_path: Path):
    whole, stopped, resumed = (make_engine(name) for _ in range(3))
    expected = losses_of(whole, ALONE, NUM_STEPS)
    losses_of(stopped, ALONE, 4)
    stopped.save(tmp_path)
    resumed.load(tmp_path, resumed.layout)
    assert losses_of(resumed, ALONE, NUM_STEPS, first=4) == expected[4:]
    after = resumed.weights()
    assert all(torch.equal(weight, after[key]) for key, weight in whole.weights().items())


@pytest.mark.parametrize("name", ["torch", "0", "1"])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_no_weight_and_the_next_one_does(name: str, where: str):
    engine = make_engine(name)
    data, tokenizer = world()
    batch = make_batch(data, tokenizer, SETTINGS, 0, 0, 1, make_masks(data, tokenizer, SETTINGS))
    engine.step(batch, 1e-3)
    before = trained_weights(engine)
    objective = engine._objective if isinstance(engine, TorchEngine) else engine._engine.module
    if where == "loss":
        hook = objective.project[0].register_forward_hook(lambda _module, _inputs, output: output * float("nan"))
    else:
        hook = objective.project[0].register_forward_hook(lambda _module, _inputs, output: _Explode.apply(output))
    assert engine.step(batch, 1e-3).is_skipped
    hook.remove()
    assert all(torch.equal(weight, trained_weights(engine)[key]) for key, weight in before.items())
    assert not engine.step(batch, 1e-3).is_skipped
    assert not all(torch.equal(weight, trained_weights(engine)[key]) for key, weight in before.items())


class _Explode(torch.autograd.Function):
    """Passes values on and gives an infinite gradient."""

    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("inf")


@pytest.mark.parametrize("name", ["0", "1", "2"])
def test_a_measured_step_tells_the_gradient_of_every_loss_and_trains_as_any_other(name: str):
    data, tokenizer = world()
    batch = make_batch(data, tokenizer, SETTINGS, 0, 0, 1, make_masks(data, tokenizer, SETTINGS))
    plain, measured, expected = make_engine(name), make_engine(name), make_engine("torch")
    found = measured.step(batch, 1e-3, measure=True).figures
    wanted = expected.step(batch, 1e-3, measure=True).figures
    assert not any(key.startswith("gradient_norm_") for key in plain.step(batch, 1e-3).figures)
    assert {key for key in wanted if key.startswith("gradient_norm_")} == {
        f"gradient_norm_{loss}" for loss in ("nt_xent", "video_text", "video_sound", "keywords", "labels")
    }
    assert found == pytest.approx(wanted, rel=1e-3, abs=1e-5)
    after = measured.weights()
    assert all(torch.equal(weight, after[key]) for key, weight in plain.weights().items())


def test_the_gradient_is_clipped_to_the_largest_norm():
    loose, tight = (OptimizerSettings(clip_norm=norm) for norm in (1e6, 1e-9))
    data, tokenizer = world()
    batch = make_batch(data, tokenizer, SETTINGS, 0, 0, 1, make_masks(data, tokenizer, SETTINGS))
    norms, weights = [], []
    for optimizer in (loose, tight):
        engine = TorchEngine(make_objective(), optimizer)
        norms.append(engine.step(batch, 1e-3).figures["gradient_norm"])
        # Adam's step does not depend on the gradient's size, except where it falls below epsilon (1e-8).
        weights.append(torch.cat([weight.flatten() for weight in engine.weights().values()]))
    start = torch.cat([weight.flatten() for weight in make_objective().state_dict().values()])
    assert norms[0] == norms[1] > 0.1
    assert (weights[1] - start).abs().mean() < 0.3 * (weights[0] - start).abs().mean()


def test_deepspeed_is_configured_from_our_settings_alone():
    settings = SETTINGS.model_copy(update={"zero_stage": 2, "optimizer": OptimizerSettings(clip_norm=0.5)})
    config = deepspeed_config(settings, 2)
    assert config["train_batch_size"] == 8
    assert config["train_micro_batch_size_per_gpu"] == 4
    assert config["gradient_clipping"] == 0.5
    assert config["zero_optimization"]["stage"] == 2
