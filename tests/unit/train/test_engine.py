"""Engines on one process: resumed to the same bits, steps that are not finite, measured and clipped gradients, and their settings."""

from pathlib import Path

import pytest
import torch

from reelspace.train.deepspeed_config import deepspeed_config
from reelspace.train.engine import Engine
from reelspace.train.group import Group
from reelspace.train.settings import OptimizerSettings
from reelspace.train.torch_engine import TorchEngine
from reelspace.train.universal_checkpoint import Layout
from tests.unit.train import engines
from tests.unit.train.engines import NUM_STEPS, SETTINGS, batch_of, losses_of, make_objective, trained_weights

pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning"), pytest.mark.usefixtures("deepspeed_here")]
ALONE = Group()


def make_engine(name: str, **changes: object) -> Engine:
    change = {"engine": "torch"} if name == "torch" else {"zero_stage": int(name)}
    return engines.make_engine(SETTINGS.model_copy(update={**change, **changes}), ALONE)


@pytest.mark.parametrize("name", ["torch", "0", "1", "2", "3"])
def test_an_engine_resumes_to_the_same_losses_bit_for_bit(name: str, tmp_path: Path):
    whole, stopped, resumed = (make_engine(name) for _ in range(3))
    expected = losses_of(whole, ALONE, NUM_STEPS)
    losses_of(stopped, ALONE, 4)
    (tmp_path / "step").mkdir()
    stopped.save(tmp_path / "step")
    resumed.load(tmp_path / "step", resumed.layout)
    assert losses_of(resumed, ALONE, NUM_STEPS, first=4) == expected[4:]
    after = resumed.weights()
    assert all(torch.equal(weight, after[key]) for key, weight in whole.weights().items())


@pytest.mark.parametrize("name", ["torch", "0", "1", "2", "3"])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_no_weight_and_the_next_one_does(name: str, where: str):
    engine = make_engine(name)
    batch = batch_of(0, ALONE)
    engine.step(batch, 1e-3)
    before = trained_weights(engine)
    objective = engine._objective
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
    batch = batch_of(0, ALONE)
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
    batch = batch_of(0, ALONE)
    norms, weights = [], []
    for optimizer in (loose, tight):
        engine = TorchEngine(make_objective(), SETTINGS.model_copy(update={"optimizer": optimizer}), ALONE)
        norms.append(engine.step(batch, 1e-3).figures["gradient_norm"])
        # Adam's step does not depend on the gradient's size, except where it falls below epsilon (1e-8).
        weights.append(torch.cat([weight.flatten() for weight in engine.weights().values()]))
    start = torch.cat([weight.flatten() for weight in make_objective().state_dict().values()])
    assert norms[0] == norms[1] > 0.1
    assert (weights[1] - start).abs().mean() < 0.3 * (weights[0] - start).abs().mean()


def test_a_step_worked_through_in_parts_is_skipped_whole_when_one_part_is_not_finite():
    for name in ("torch", "0", "2"):
        engine = make_engine(name, micro_batches=2)
        batch = batch_of(0, ALONE)
        engine.step(batch, 1e-3)
        before = trained_weights(engine)
        calls = iter(range(100))
        hook = engine._objective.project[0].register_forward_hook(
            lambda _module, _inputs, output, calls=calls: output * float("nan") if next(calls) == 0 else output
        )
        assert engine.step(batch, 1e-3).is_skipped
        hook.remove()
        assert all(torch.equal(weight, trained_weights(engine)[key]) for key, weight in before.items()), name
        assert not engine.step(batch, 1e-3).is_skipped


def test_a_state_of_another_engine_or_of_a_stage_that_spreads_other_things_is_refused():
    assert make_engine("torch").refusal("deepspeed-zero1-2") is not None
    one, three = make_engine("1"), make_engine("3")
    assert [one.refusal(str(Layout(stage, 4))) is None for stage in range(4)] == [False, True, True, False]
    assert [three.refusal(str(Layout(stage, 4))) is None for stage in range(4)] == [False, False, False, True]
    assert one.refusal("torch") == "was written as torch, this training runs as deepspeed-zero1-1"
    assert "ZeRO stage 3, whose files stage 1 cannot read" in str(one.refusal("deepspeed-zero3-2"))


@pytest.mark.parametrize(("precision", "bar"), [("bf16_autocast", 5e-3), ("bf16", 3e-2), ("bf16_all", 5e-2)])
def test_bfloat16_trains_near_the_losses_of_float32(precision: str, bar: float):
    expected = losses_of(make_engine("torch"), ALONE, NUM_STEPS)
    found = losses_of(make_engine("2", precision=precision), ALONE, NUM_STEPS)
    assert found != expected
    assert engines.relative_difference(found, expected) <= bar


def test_activations_are_computed_anew_only_where_that_is_asked_for():
    calls = {}
    for checkpoints in (False, True):
        engine = make_engine("torch", checkpoint_activations=checkpoints)
        seen = []
        engine._objective.model.picture.tower.blocks[0].register_forward_pre_hook(lambda *_, seen=seen: seen.append(1))
        engine.step(batch_of(0, ALONE), 1e-3)
        calls[checkpoints] = len(seen)
    assert calls == {False: 1, True: 2}


def test_deepspeed_is_configured_from_our_settings_alone():
    changes = {
        "zero_stage": 3,
        "optimizer": OptimizerSettings(clip_norm=0.5),
        "micro_batches": 2,
        "offload": "parameters",
        "precision": "bf16",
    }
    config = deepspeed_config(SETTINGS.model_copy(update=changes), 2)
    assert config["train_batch_size"] == 8
    assert config["train_micro_batch_size_per_gpu"] == 2
    assert config["gradient_accumulation_steps"] == 2
    assert config["gradient_clipping"] == 0.5
    assert config["bf16"]["enabled"]
    assert config["zero_optimization"]["stage"] == 3
    assert config["zero_optimization"]["offload_param"] == {"device": "cpu"}
