"""Memory of a training by part, each with its arithmetic; P parameters, N processes.

Source: ZeRO (Rajbhandari et al. 2020, section 3) with what DeepSpeed 0.19.8 allocates (stage_1_and_2.py and stage3.py): a float32 master
also of float32 weights, gradients in the type of the weights, and one bucket that gradients are reduced in.
"""

from dataclasses import dataclass
from typing import Any

from reelspace.train.deepspeed_config import deepspeed_config
from reelspace.train.plan.settings import PlanSettings
from reelspace.train.plan.trace import Trace
from reelspace.train.settings import Precision, TrainSettings

GIB = 1 << 30
# DeepSpeed's own default, and what its estimators add for buffers where states lie in the memory of the CPU (stage3.py).
_REDUCE_BUCKET = 500_000_000
_MAX_LIVE = 1_000_000_000
_PREFETCH = 50_000_000
_CPU_BUFFERS = 1.5
# What the way back frees or the optimizer consumes.
_MOVING = frozenset({"gradients", "activations", "contrast", "workspace"})


@dataclass(frozen=True, slots=True)
class MemoryPart:
    """Bytes of one purpose, and how they come about."""

    name: str
    size_bytes: int
    arithmetic: str


@dataclass(frozen=True, slots=True)
class Memory:
    """Parts of a GPU's memory, and what a machine's own memory must hold for them."""

    parts: tuple[MemoryPart, ...]
    node_bytes: int

    @property
    def total_bytes(self) -> int:
        """The parts together."""
        return sum(part.size_bytes for part in self.parts)


@dataclass(frozen=True, slots=True)
class StateBytes:
    """Bytes of one parameter: its weight, its gradient, its master copy, its two moments, and its gradient as the optimizer reads it."""

    weight: int
    gradient: int
    master: int
    moments: int
    step: int


def state_bytes(settings: TrainSettings) -> StateBytes:
    """Give the bytes of one parameter under an engine and a precision."""
    if settings.engine == "torch" or (settings.zero_stage == 0 and settings.precision in ("fp32", "bf16_autocast")):
        return StateBytes(weight=4, gradient=4, master=0, moments=8, step=0)
    by_precision: dict[Precision, StateBytes] = {
        "fp32": StateBytes(weight=4, gradient=4, master=4, moments=8, step=4),
        "bf16_autocast": StateBytes(weight=4, gradient=4, master=4, moments=8, step=4),
        "bf16": StateBytes(weight=2, gradient=2, master=4, moments=8, step=4),
        "bf16_all": StateBytes(weight=2, gradient=2, master=2, moments=4, step=2),
    }
    return by_precision[settings.precision]


def memory(traced: Trace, settings: TrainSettings, plan: PlanSettings) -> Memory:
    """Give the memory of one process on its GPU, and of a machine's processes in its own memory."""
    state, shares = state_bytes(settings), _Shares(traced.num_parameters, plan.gpus)
    states = _states(traced, shares, settings)
    passes = _passes(traced, settings)
    stage, is_offloaded = _stage(settings), settings.offload != "none"
    step = shares.part("optimizer step", 0 if is_offloaded else state.step, stage >= 1)
    # When the optimizer runs, all gradients have come and the activations are gone.
    come = 0 if is_offloaded and stage >= 2 else shares.part("gradients", state.gradient, stage >= 2).size_bytes
    late_bytes = step.size_bytes + come
    during_bytes = sum(part.size_bytes for part in (*states, *passes) if part.name in _MOVING)
    late = MemoryPart("optimizer step", max(0, late_bytes - during_bytes), f"{step.arithmetic}: what it takes beyond the activations")
    # Labels are read when a step begins: no gradient and no activation is there.
    reading = max(0, traced.refresh_bytes - max(during_bytes, late_bytes))
    labels = MemoryPart("labels' texts", reading, "traced: reading all of them anew, what it takes beyond the activations")
    counted = [*states, *_buffers(shares, settings, plan), *passes, late, labels]
    total = sum(part.size_bytes for part in counted)
    margin = MemoryPart("margin", round(total * plan.margin), f"{plan.margin:.0%} of the above")
    return Memory((*counted, margin), _node_bytes(shares, settings, plan))


def checkpoint_bytes(traced: Trace, settings: TrainSettings) -> int:
    """Give the size of one checkpoint: weights, masters, moments."""
    state = state_bytes(settings)
    return traced.num_parameters * (state.weight + state.master + state.moments)


@dataclass(frozen=True, slots=True)
class _Shares:
    num_parameters: int
    num_processes: int

    def part(self, name: str, size: int, is_spread: bool, of: str = "") -> MemoryPart:
        """Give a part of `size` bytes a parameter, spread over the processes or not."""
        among = self.num_processes if is_spread else 1
        arithmetic = f"{size} B" + (f" ({of})" if of else "") + " x P" + (f" / {among}" if among > 1 else "")
        return MemoryPart(name, size * self.num_parameters // among, arithmetic)


def _stage(settings: TrainSettings) -> int:
    return 0 if settings.engine == "torch" else settings.zero_stage


def _states(traced: Trace, shares: _Shares, settings: TrainSettings) -> list[MemoryPart]:
    """Weights, gradients and the optimizer's states; what is offloaded takes nothing here."""
    stage, state = _stage(settings), state_bytes(settings)
    offloaded = "in the memory of the machine"
    weights = shares.part("weights", state.weight, stage >= 3)
    gradients = shares.part("gradients", state.gradient, stage >= 2)
    optimizer = shares.part("optimizer", state.master + state.moments, stage >= 1, f"{state.master} master + {state.moments} moments")
    if settings.offload == "parameters":
        weights = MemoryPart(weights.name, 0, offloaded)
    if settings.offload != "none":
        optimizer = MemoryPart(optimizer.name, 0, offloaded)
        if stage >= 2:
            gradients = MemoryPart(gradients.name, 0, offloaded)
    if stage < 2 and settings.micro_batches == 1:
        # With one part the gradients begin to come when the activations begin to go.
        come = traced.full_peak_bytes - traced.peak_bytes
        gradients = MemoryPart(gradients.name, come, f"{gradients.arithmetic}, as many as have come while most activations are there")
    return [weights, gradients, optimizer]


def _buffers(shares: _Shares, settings: TrainSettings, plan: PlanSettings) -> list[MemoryPart]:
    stage, state, total = _stage(settings), state_bytes(settings), shares.num_parameters
    if settings.engine == "torch":
        copies = plan.gpus > 1
        return [
            MemoryPart(
                "reduce buffer",
                4 * total if copies else 0,
                "4 B x P in the buckets of DistributedDataParallel" if copies else "one process",
            )
        ]
    zero: dict[str, Any] = deepspeed_config(settings, plan.gpus)["zero_optimization"]
    bucket = min(total, int(zero.get("reduce_bucket_size", _REDUCE_BUCKET))) if stage >= 1 else 0
    parts = [MemoryPart("reduce buffer", state.gradient * bucket, f"{state.gradient} B x min(P, bucket)")]
    if stage == 3:
        live = min(total, int(zero.get("stage3_max_live_parameters", _MAX_LIVE)))
        ahead = min(total, int(zero.get("stage3_prefetch_bucket_size", _PREFETCH)))
        parts.append(MemoryPart("live weights", state.weight * (live + ahead), f"{state.weight} B x (min(P, most live) + prefetch)"))
    return parts


def _passes(traced: Trace, settings: TrainSettings) -> list[MemoryPart]:
    works = settings.batch_size
    kept = traced.batch_bytes + traced.encoded_bytes + traced.contrast_bytes
    anew = "inputs of blocks; the rest is computed anew" if settings.checkpoint_activations else "all that the way back reads"
    return [
        MemoryPart("batch", traced.batch_bytes + traced.buffer_bytes, "the process's share, augmented, and the label graph"),
        MemoryPart("activations", traced.encoded_bytes, f"traced: {anew}"),
        MemoryPart("contrast", traced.contrast_bytes, f"traced: logits against up to {works:,} works, labels"),
        MemoryPart("workspace", max(0, traced.peak_bytes - kept), "traced: the most that lives at a time, beyond what is kept"),
    ]


def _node_bytes(shares: _Shares, settings: TrainSettings, plan: PlanSettings) -> int:
    """Masters, moments and gradients of the processes of one machine, and their weights with `parameters`."""
    if settings.offload == "none":
        return 0
    state, here = state_bytes(settings), min(plan.gpus, plan.gpus_per_node)
    size = state.master + state.moments + state.step + (state.weight if settings.offload == "parameters" else 0)
    return round(_CPU_BUFFERS * size * shares.num_parameters * here / plan.gpus)
