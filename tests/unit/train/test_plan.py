import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest

from reelspace.core.errors import UserError
from reelspace.core.settings import read
from reelspace.train.plan.effort import effort
from reelspace.train.plan.memory import GIB
from reelspace.train.plan.plan import Plan, changed, make_plan, plan_of, smallest_change
from reelspace.train.plan.request import gib, read_settings
from reelspace.train.plan.settings import CorpusSettings, PlanSettings
from reelspace.train.plan.sweep import rank, sweep
from reelspace.train.plan.table import as_json, lines
from reelspace.train.settings import TrainSettings
from tests.unit.train.test_plan_memory import TRACED

PLANS = Path(__file__).resolve().parents[3] / "examples" / "plans"
CORPUS = CorpusSettings(num_labels=20, num_neighbours=2)


def tiny(**values: Any) -> TrainSettings:
    return TrainSettings.model_validate({"model": "tiny_student", "batch_size": 4, "zero_stage": 0, **values})


def machines(**values: Any) -> PlanSettings:
    return PlanSettings.model_validate({"gpus": 2, "corpus": CORPUS.model_dump(), **values})


@pytest.mark.parametrize(("name", "gpus", "gib_per_work"), [("3b-8", 8, 0.58), ("10b-64", 64, 1.27)])
def test_reviewed_settings_fit_80_gib_and_keep_what_was_counted_by_hand(name: str, gpus: int, gib_per_work: float):
    settings = read(TrainSettings, (PLANS / f"{name}.json").read_text())
    plan = make_plan(settings, PlanSettings(gpus=gpus, gpu_memory_gib=80))
    assert plan.fits
    # Well used: with twice the works it would not fit.
    assert plan.memory.total_bytes > 40 * GIB
    kept = plan.traced.encoded_bytes / (settings.batch_size // gpus) / GIB
    assert kept == pytest.approx(gib_per_work, rel=0.15)


def test_a_plan_that_does_not_fit_names_the_first_change_that_does():
    settings = tiny(precision="bf16", zero_stage=1, micro_batches=2)
    whole, spread = make_plan(settings, machines()), make_plan(changed(settings, zero_stage=2), machines())
    assert spread.memory.total_bytes < whole.memory.total_bytes
    between = (whole.memory.total_bytes + spread.memory.total_bytes) / 2 / GIB
    tight = make_plan(settings, machines(gpu_memory_gib=between))
    assert not tight.fits
    assert smallest_change(tight) == "--set zero_stage=2"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_sweep_finds_what_trying_every_plan_finds():
    settings, limit = tiny(batch_size=2), machines(gpu_memory_gib=0.0078)
    tried: list[Plan] = []
    # Stage and offload change nothing that is traced.
    for (gpus, parts), anew in product([(2, 1), (1, 1), (1, 2)], (False, True)):
        fewer = limit.model_copy(update={"gpus": gpus})
        cut = changed(settings, checkpoint_activations=anew, micro_batches=parts, grad_cache=parts > 1)
        traced = make_plan(cut, fewer).traced
        for stage, offload in product(range(4), ("none", "optimizer", "parameters")):
            if (offload == "none" or stage) and (offload != "parameters" or stage == 3):
                tried.append(plan_of(changed(cut, zero_stage=stage, offload=offload), fewer, traced))
    fitting = [plan for plan in tried if plan.fits]
    assert 0 < len(fitting) < len(tried)
    best, second = sweep(settings, limit)
    assert best.fits
    assert best.effort.gpu_hours == pytest.approx(min(plan.effort.gpu_hours for plan in fitting), rel=0.01)
    assert best.effort.gpu_hours <= second.effort.gpu_hours


def test_plans_are_ranked_by_gpu_hours_within_the_hours_allowed():
    settings = TrainSettings(batch_size=512, zero_stage=3, precision="bf16")
    # As many FLOPs in all: more GPUs end sooner, and talk more.
    traces = {gpus: replace(TRACED, forward_flops=10**18 // gpus) for gpus in (64, 8, 16)}
    plans = [plan_of(settings, PlanSettings(gpus=gpus, gpu_memory_gib=80), traced) for gpus, traced in traces.items()]
    hours = [plan.effort.hours for plan in plans]
    assert [plan.machines.gpus for plan in rank(plans, PlanSettings())] == [8, 16, 64]
    assert [plan.machines.gpus for plan in rank(plans, PlanSettings(max_hours=sum(hours[::2]) / 2))] == [64]
    with pytest.raises(UserError, match=r"none of 3 plans fits 1 GiB, the smallest takes \d+"):
        rank([replace(plan, machines=PlanSettings(gpu_memory_gib=1)) for plan in plans], PlanSettings(gpu_memory_gib=1))
    with pytest.raises(UserError, match="the fastest of 3 plans that fit takes"):
        rank(plans, PlanSettings(max_hours=1e-9))


def test_effort_is_arithmetic_on_the_trace():
    traced = replace(TRACED, forward_flops=10**15, backward_flops=2 * 10**15, recompute_flops=10**15)
    settings = TrainSettings(batch_size=100, engine="torch", precision="bf16_autocast", keep_checkpoints=2, keep_best=False)
    found = effort(traced, settings, PlanSettings(gpus=1, throughput=200, peak_tflops=400, samples=1_001, epochs=2, price=3))
    assert found.step.total_s == found.step.compute_s == 4 * 10**15 / 200e12
    assert found.num_steps == 21
    assert found.hours == pytest.approx(21 * 20 / 3600)
    assert found.usd == pytest.approx(3 * found.gpu_hours)
    # Three quarters of what is computed is the model's, at half of the peak.
    assert found.utilisation == pytest.approx(0.375)
    assert found.storage_bytes == 3 * found.checkpoint_bytes == 3 * 12 * traced.num_parameters


def test_more_gpus_talk_and_offload_waits():
    settings = TrainSettings(batch_size=64, zero_stage=3, precision="bf16")
    alone, many = (effort(TRACED, settings, PlanSettings(gpus=gpus)).step for gpus in (1, 64))
    assert alone.talk_s == 0
    # Weights twice and gradients once, 2 bytes each, to the 63 others.
    assert many.talk_s == pytest.approx(6 * TRACED.num_parameters * 63 / 64 / 25e9)
    assert effort(TRACED, changed(settings, offload="optimizer"), PlanSettings(gpus=64)).step.offload_s > 0


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"batch_size": 6, "micro_batches": 2}, "batch_size is 6, expected a multiple of num_processes = 2 times micro_batches = 2"),
        ({"grad_cache": True}, "grad_cache is on and micro_batches is 1"),
        ({"offload": "optimizer"}, "offload is optimizer and zero_stage is 0"),
        ({"encoder": "clip", "objective": {"keywords": 0}}, "only towers of our own are planned"),
    ],
)
def test_a_plan_refuses_what_training_refuses(values: dict[str, Any], told: str):
    with pytest.raises(UserError, match=told):
        make_plan(tiny(**values), machines())


@pytest.mark.parametrize(("text", "size"), [("80GiB", 80.0), ("24", 24.0), ("85.899345920GB", 80.0), ("1 TiB", 1024.0)])
def test_sizes_of_memory_are_read(text: str, size: float):
    assert gib(text) == pytest.approx(size)


def test_a_size_without_sense_is_refused():
    with pytest.raises(UserError, match="expected a size such as 80GiB, got '80 bytes'"):
        gib("80 bytes")


def test_a_batch_is_cut_into_parts_of_the_works_asked_for(tmp_path: Path):
    eight = PlanSettings(gpus=8)
    assert read_settings(None, {"model": "1b"}, [], 4, eight).batch_size == 32
    assert read_settings(None, {"model": "1b"}, [], None, eight).vocabulary_size == 64_000
    assert read_settings(None, {"batch_size": 64}, [], 4, eight).micro_batches == 2
    with pytest.raises(UserError, match="expected a multiple of 8 GPUs times --micro-batch 5"):
        read_settings(None, {"batch_size": 64}, [], 5, eight)
    with pytest.raises(UserError, match="expected a readable JSON file"):
        read_settings(tmp_path / "none.json", {}, [], None, eight)


def test_the_table_shows_every_part_with_its_arithmetic_and_json_the_same_bytes():
    plan = make_plan(tiny(), machines(price=2))
    text = "\n".join(lines(plan))
    for part in plan.memory.parts:
        assert f"{part.size_bytes / GIB:.2f} GiB  {part.arithmetic}" in text
    assert "--set pretrain.zero_stage=0" in text
    assert "USD" in text
    (told,) = as_json([plan])
    assert sum(told["memory"].values()) == told["memory_total_bytes"]
    assert read(TrainSettings, told["settings"]) == plan.settings


def test_command_that_finds_no_fit_prints_the_plan_and_exits_with_2_and_one_line():
    words = "plan train --preset tiny_student --gpus 1 --zero-stage 3 --gpu-memory 0.08GiB --json"
    result = subprocess.run([sys.executable, "-m", "reelspace.cli", *words.split()], capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    (told,) = orjson.loads(result.stdout)
    assert told["fits"] is False
    assert "at most 0.08 GiB for each GPU" in result.stderr
    assert "the smallest change that fits: --set checkpoint_activations=true" in result.stderr
    assert "Traceback" not in result.stderr
