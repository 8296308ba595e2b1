"""What a training takes: FLOPs, bytes that are sent, time, storage, money. Whatever was not measured is an assumption of PlanSettings."""

import math
from dataclasses import dataclass

from reelspace.train.plan.memory import StateBytes, checkpoint_bytes, state_bytes
from reelspace.train.plan.settings import PlanSettings
from reelspace.train.plan.trace import Trace
from reelspace.train.settings import TrainSettings

_S_PER_HOUR = 3600
# Bytes that AdamW moves a parameter on the CPU: reads weight, gradient and two moments, writes all but the gradient, in float32.
_ADAM_BYTES = 28


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of one step, one after the other: nothing is assumed to overlap."""

    compute_s: float
    talk_s: float
    offload_s: float

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.compute_s + self.talk_s + self.offload_s


@dataclass(frozen=True, slots=True)
class Effort:
    """A run in numbers; FLOPs are one step's of all processes, money is None without a price."""

    model_flops: int
    recompute_flops: int
    step: StepTime
    utilisation: float
    num_steps: int
    hours: float
    gpu_hours: float
    checkpoint_bytes: int
    storage_bytes: int
    usd: float | None


def effort(traced: Trace, settings: TrainSettings, plan: PlanSettings) -> Effort:
    """Estimate a run; `utilisation` is model FLOPs over what the GPUs could do in the time of a step (Chowdhery et al. 2022, PaLM)."""
    step = _step_time(traced, settings, plan)
    num_steps = settings.steps if plan.samples is None else math.ceil(plan.samples * plan.epochs / settings.batch_size)
    hours = num_steps * step.total_s / _S_PER_HOUR
    one = checkpoint_bytes(traced, settings)
    return Effort(
        model_flops=traced.model_flops * plan.gpus,
        recompute_flops=(traced.flops - traced.model_flops) * plan.gpus,
        step=step,
        utilisation=traced.model_flops / (step.total_s * peak(settings, plan)),
        num_steps=num_steps,
        hours=hours,
        gpu_hours=hours * plan.gpus,
        checkpoint_bytes=one,
        # One more is whole before the oldest is given up.
        storage_bytes=one * (settings.keep_checkpoints + settings.keep_best + 1),
        usd=None if plan.price is None else hours * plan.gpus * plan.price,
    )


def peak(settings: TrainSettings, plan: PlanSettings) -> float:
    """Give the most FLOP/s of a GPU in the precision of the settings."""
    return plan.peak_tflops * 1e12 * (plan.fp32_share if settings.precision == "fp32" else 1.0)


def sustained(settings: TrainSettings, plan: PlanSettings) -> float:
    """Give the FLOP/s of a GPU while it computes: measured, or assumed."""
    return peak(settings, plan) * plan.utilisation if plan.throughput is None else plan.throughput * 1e12


def _step_time(traced: Trace, settings: TrainSettings, plan: PlanSettings) -> StepTime:
    state = state_bytes(settings)
    return StepTime(
        compute_s=traced.flops / sustained(settings, plan),
        talk_s=_sent_bytes(traced.num_parameters, state, settings) * (1 - 1 / plan.gpus) / (plan.link_gb_s * 1e9),
        offload_s=_offload_s(traced.num_parameters, state, settings, plan),
    )


def _sent_bytes(num_parameters: int, state: StateBytes, settings: TrainSettings) -> int:
    """Bytes that a process sends in a step (ZeRO, section 7): gradients once per part from stage 2 on, weights per pass in stage 3."""
    parts = settings.micro_batches
    if settings.engine == "torch" or settings.zero_stage == 0:
        return 2 * state.gradient * num_parameters
    if settings.zero_stage == 3:
        passes = 3 if settings.grad_cache else 2
        return (state.weight * passes + state.gradient) * parts * num_parameters
    return (state.gradient * (parts if settings.zero_stage == 2 else 1) + state.weight) * num_parameters


def _offload_s(num_parameters: int, state: StateBytes, settings: TrainSettings, plan: PlanSettings) -> float:
    """Gradients go down and weights come up over the GPU's link; the machine's memory bounds its processes' part of AdamW."""
    if settings.offload == "none":
        return 0.0
    moved = state.gradient + state.weight * (1 if settings.offload == "optimizer" else 1 + 2 * settings.micro_batches)
    here = min(plan.gpus, plan.gpus_per_node)
    over_link = moved * num_parameters / plan.gpus / (plan.host_link_gb_s * 1e9)
    return over_link + _ADAM_BYTES * num_parameters * here / plan.gpus / (plan.host_memory_gb_s * 1e9)
