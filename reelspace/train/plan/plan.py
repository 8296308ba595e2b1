"""A plan: whether a training fits its GPUs, and what it takes; and the smallest change that makes one fit."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelspace.core.errors import UserError
from reelspace.core.settings import read
from reelspace.model.presets import preset
from reelspace.model.settings import ModelSettings
from reelspace.train.job import TrainJob, check_job
from reelspace.train.plan.effort import Effort, effort
from reelspace.train.plan.memory import GIB, Memory, memory
from reelspace.train.plan.settings import PlanSettings
from reelspace.train.plan.trace import Trace, trace
from reelspace.train.settings import TrainSettings


@dataclass(frozen=True, slots=True)
class Plan:
    """A training on machines, and what it takes there."""

    settings: TrainSettings
    machines: PlanSettings
    traced: Trace
    memory: Memory
    effort: Effort

    @property
    def fits(self) -> bool:
        """Tell whether a GPU holds it, the margin included."""
        return self.memory.total_bytes <= self.machines.gpu_memory_gib * GIB


def make_plan(settings: TrainSettings, machines: PlanSettings) -> Plan:
    """Trace one step and count.

    Raises:
        UserError: the settings contradict each other, or ask for what a plan cannot tell.
    """
    check(settings, machines)
    return plan_of(settings, machines, trace(planned_sizes(settings), settings, machines.corpus, machines.gpus))


def planned_sizes(settings: TrainSettings) -> ModelSettings:
    """Give the model's sizes, with a vocabulary that the data fills."""
    return preset(settings.model).model_copy(update={"vocabulary_size": settings.vocabulary_size})


def plan_of(settings: TrainSettings, machines: PlanSettings, traced: Trace) -> Plan:
    """Count what was traced."""
    return Plan(settings, machines, traced, memory(traced, settings, machines), effort(traced, settings, machines))


def check(settings: TrainSettings, machines: PlanSettings) -> None:
    """Refuse what a training would refuse before it starts, and a checkpoint of others, whose towers are not ours to trace.

    Raises:
        UserError: names the settings.
    """
    if settings.encoder is not None:
        raise UserError(f"encoder is {settings.encoder}, expected none: only towers of our own are planned")
    nowhere = Path()
    check_job(TrainJob(kind="pretrain", store=".", shards="0" * 64, labels=nowhere, out=nowhere, pretrain=settings), machines.gpus)


def is_allowed(settings: TrainSettings, machines: PlanSettings) -> bool:
    """Tell whether a training would start with these settings."""
    try:
        check(settings, machines)
    except UserError:
        return False
    return True


def changed(settings: TrainSettings, **values: Any) -> TrainSettings:
    """Give the settings with others in places, validated."""
    return read(TrainSettings, settings.model_dump(mode="json") | values)


def smallest_change(plan: Plan) -> str | None:
    """Name the first single change that makes a plan fit, those that cost least first; None: no single one does."""
    for told, settings, machines in _changes(plan):
        if is_allowed(settings, machines) and make_plan(settings, machines).fits:
            return told
    return None


def _changes(plan: Plan) -> Iterator[tuple[str, TrainSettings, PlanSettings]]:
    settings, machines = plan.settings, plan.machines
    options: list[dict[str, Any]] = []
    if settings.engine == "deepspeed":
        options += [{"zero_stage": stage} for stage in range(settings.zero_stage + 1, 4)]
    options.append({"checkpoint_activations": True})
    share = settings.batch_size // machines.gpus
    options += [{"micro_batches": parts, "grad_cache": True} for parts in divisors(share) if parts > settings.micro_batches]
    if settings.precision in ("fp32", "bf16_autocast"):
        options.append({"precision": "bf16"})
    options += [{"offload": "optimizer"}, {"offload": "parameters"}]
    for values in options:
        if any(getattr(settings, name) != value for name, value in values.items()):
            yield " ".join(f"--set {name}={as_text(value)}" for name, value in values.items()), changed(settings, **values), machines
    yield f"--gpus {2 * machines.gpus}", settings, machines.model_copy(update={"gpus": 2 * machines.gpus})


def divisors(number: int) -> list[int]:
    """Give the divisors of a number, rising."""
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]


def as_text(value: object) -> str:
    """Write a value as `--set` reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
