import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from reelspace.model.presets import small
from reelspace.model.settings import ModelSettings
from reelspace.train.plan.memory import GIB, Memory, memory
from reelspace.train.plan.settings import CorpusSettings, PlanSettings
from reelspace.train.plan.trace import Trace, trace
from reelspace.train.settings import TrainSettings

CHILD = Path(__file__).with_name("plan_child.py")
MILLION = 1_000_000
TRACED = Trace(
    num_parameters=10_000 * MILLION,
    buffer_bytes=0,
    batch_bytes=GIB,
    encoded_bytes=20 * GIB,
    contrast_bytes=GIB,
    refresh_bytes=0,
    peak_bytes=25 * GIB,
    full_peak_bytes=25 * GIB,
    forward_flops=1,
    backward_flops=2,
    recompute_flops=0,
    cache_flops=0,
    refresh_flops=0,
)


def planned(gpus: int = 8, **values: Any) -> Memory:
    settings = TrainSettings.model_validate({"zero_stage": 3, "precision": "bf16", **values})
    return memory(TRACED, settings, PlanSettings(gpus=gpus, margin=0.0))


def size_of(found: Memory, *names: str) -> int:
    return sum(part.size_bytes for part in found.parts if part.name in names)


@pytest.mark.parametrize("gpus", [8, 16, 64])
def test_states_of_stage_3_agree_with_deepspeeds_own_estimate(gpus: int, capsys: pytest.CaptureFixture[str]):
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs

    _, told, _ = estimate_zero3_model_states_mem_needs(TRACED.num_parameters, 0, 8, gpus // 8, cpu_offload=False, cpu_offload_params=False)
    states = size_of(planned(gpus), "weights", "gradients", "optimizer")
    # It counts 18 bytes a parameter: our 16, or the float32 gradient in place of the one in bfloat16.
    assert states == TRACED.num_parameters * 16 // gpus
    assert states < told == pytest.approx(states * 18 / 16, rel=0.01)


def test_each_stage_spreads_one_more_kind_of_state():
    rows = {stage: planned(zero_stage=stage, micro_batches=2) for stage in range(1, 4)}
    total = TRACED.num_parameters
    assert [size_of(found, "optimizer") for found in rows.values()] == [12 * total // 8] * 3
    assert [size_of(found, "gradients") for found in rows.values()] == [2 * total, 2 * total // 8, 2 * total // 8]
    assert [size_of(found, "weights") for found in rows.values()] == [2 * total, 2 * total, 2 * total // 8]
    assert size_of(rows[3], "live weights") == 2 * 1_050 * MILLION


def test_offload_moves_states_into_the_machine_with_buffers():
    optimizer, parameters = planned(offload="optimizer"), planned(offload="parameters")
    assert size_of(optimizer, "optimizer", "gradients") == 0
    assert size_of(optimizer, "weights") > size_of(parameters, "weights") == 0
    # What DeepSpeed's estimate says of 10b on 8 GPUs: 16 and 18 bytes a parameter, and half of it again.
    assert optimizer.node_bytes == 1.5 * 16 * TRACED.num_parameters
    assert parameters.node_bytes == 1.5 * 18 * TRACED.num_parameters
    assert planned().node_bytes == 0


def test_masters_and_moments_in_bfloat16_halve_the_optimizer():
    assert 2 * size_of(planned(precision="bf16_all"), "optimizer") == size_of(planned(), "optimizer")


def test_optimizer_step_counts_only_beyond_the_activations():
    assert size_of(planned(), "optimizer step") == 0
    alone = planned(1)
    # 4 bytes a parameter in place of 23 GiB of activations and workspace; the gradients are there all the time.
    assert size_of(alone, "optimizer step") == 4 * TRACED.num_parameters - (25 - 1) * GIB


def test_reading_the_labels_counts_only_beyond_the_activations():
    settings = TrainSettings(zero_stage=3, precision="bf16", micro_batches=2)
    few, many = (memory(replace(TRACED, refresh_bytes=size), settings, PlanSettings(gpus=64)) for size in (10 * GIB, 40 * GIB))
    assert size_of(few, "labels' texts") == 0
    # Activations, contrast and workspace are 24 GiB, and the gradients are not there yet.
    assert size_of(many, "labels' texts") == 16 * GIB - 2 * TRACED.num_parameters // 64


def test_margin_is_a_share_of_all_parts():
    settings = TrainSettings(zero_stage=3, precision="bf16")
    bare, wide = (memory(TRACED, settings, PlanSettings(margin=margin)) for margin in (0.0, 0.25))
    assert wide.total_bytes == pytest.approx(1.25 * bare.total_bytes, rel=1e-6)


def shape(**numbers: Any) -> ModelSettings:
    """A model of at least 50 million parameters whose training this machine holds."""
    return small().model_copy(update=numbers)


WIDE = {"width": 1024, "num_heads": 16, "picture_layers": 3, "text_layers": 2, "sound_layers": 1, "fusion_layers": 1}
DEEP = {"picture_layers": 24, "text_layers": 8, "sound_layers": 4}


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("sizes", "values"),
    [
        (shape(), {}),
        (shape(**WIDE, vocabulary_size=8_000), {}),
        (shape(**DEEP, vocabulary_size=8_000), {}),
        (shape(**DEEP, vocabulary_size=8_000), {"checkpoint_activations": True}),
        (shape(**WIDE, vocabulary_size=8_000), {"micro_batches": 2}),
        *((shape(), {"engine": "deepspeed", "zero_stage": stage, "batch_size": 2}) for stage in (1, 2, 3)),
    ],
    ids=["small", "wide", "deep", "deep-checkpointed", "wide-in-parts", "small-zero-1", "small-zero-2", "small-zero-3"],
)
def test_predicted_memory_is_within_a_tenth_of_what_training_takes(sizes: ModelSettings, values: dict[str, Any]):
    settings = TrainSettings.model_validate({"engine": "torch", "batch_size": 4, "label_negatives": 256, **values})
    corpus = CorpusSettings()
    traced = trace(sizes, settings, corpus, 1)
    assert traced.num_parameters >= 50 * MILLION
    predicted = memory(traced, settings, PlanSettings(gpus=1)).total_bytes
    command = [sys.executable, str(CHILD), *(part.model_dump_json() for part in (sizes, settings, corpus))]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHILD.parents[3])
    assert result.returncode == 0, result.stderr
    growth = orjson.loads(result.stdout.splitlines()[-1])["growth"]
    assert predicted == pytest.approx(growth, rel=0.1), f"predicted {predicted / GIB:.2f} GiB, measured {growth / GIB:.2f} GiB"
