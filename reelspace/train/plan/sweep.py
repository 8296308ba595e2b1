"""The cheapest plan that fits: GPUs, ZeRO stage, offload, parts of a batch and checkpointing, each tried with each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal

from reelspace.core.errors import UserError
from reelspace.train.plan.memory import GIB
from reelspace.train.plan.plan import Plan, changed, divisors, is_allowed, make_plan, plan_of, planned_sizes
from reelspace.train.plan.settings import PlanSettings
from reelspace.train.plan.trace import Trace, between, trace
from reelspace.train.settings import TrainSettings

Offload = Literal["none", "optimizer", "parameters"]
NUM_TOLD = 2
_FAR = 4


def sweep(settings: TrainSettings, machines: PlanSettings) -> list[Plan]:
    """Give the cheapest plan that fits and the runner-up, by GPU hours.

    The batch stays as it is: what is contrasted does not change, since GradCache joins the parts. GPUs are halved from those given. A
    candidate's activations lie on the line between two traced sizes; the answer itself is traced, so that it truly fits.

    Raises:
        UserError: none fits, or none within max_hours.
    """
    lines = _Lines(settings, machines)
    ranked = rank([lines.plan(candidate, fewer) for candidate, fewer in _candidates(settings, machines)], machines)
    told: list[Plan] = []
    for plan in ranked:
        exact = make_plan(plan.settings, plan.machines)
        if exact.fits:
            told.append(exact)
        if len(told) == NUM_TOLD:
            break
    if not told:
        raise UserError("no plan that fits by estimate does when it is traced; give a larger --gpu-memory or a smaller batch")
    return told


def rank(plans: Sequence[Plan], machines: PlanSettings) -> list[Plan]:
    """Give the plans that fit and end in time, those with the fewest GPU hours first; of equal ones, those that need less of a machine.

    Raises:
        UserError: none fits, or none ends in time; tells how far the nearest is.
    """
    fitting = [plan for plan in plans if plan.fits]
    if not fitting:
        if not plans:
            raise UserError("no way to cut the batch is one that a training would start with; give a batch_size that --gpus divides")
        least = min(plans, key=lambda plan: plan.memory.total_bytes)
        raise UserError(
            f"none of {len(plans)} plans fits {machines.gpu_memory_gib:g} GiB, the smallest takes {least.memory.total_bytes / GIB:.3g} GiB "
            f"on each of {least.machines.gpus} GPUs; give more --gpus, a smaller --preset or --precision bf16"
        )
    in_time = [plan for plan in fitting if machines.max_hours is None or plan.effort.hours <= machines.max_hours]
    if not in_time:
        fastest = min(plan.effort.hours for plan in fitting)
        raise UserError(f"the fastest of {len(fitting)} plans that fit takes {fastest:,.3g} h, expected at most {machines.max_hours:g} h")
    return sorted(in_time, key=lambda plan: (plan.effort.gpu_hours, plan.memory.node_bytes))


def _candidates(settings: TrainSettings, machines: PlanSettings) -> Iterator[tuple[TrainSettings, PlanSettings]]:
    gpus = [count for count in _halvings(machines.gpus) if settings.batch_size % count == 0]
    offloads: tuple[Offload, ...] = ("none", "optimizer", "parameters")
    for count, stage, offload, checkpoints in product(gpus, range(4), offloads, (False, True)):
        fewer = machines.model_copy(update={"gpus": count})
        for parts in divisors(settings.batch_size // count):
            values = {
                "engine": "deepspeed",
                "zero_stage": stage,
                "offload": offload,
                "checkpoint_activations": checkpoints,
                "micro_batches": parts,
                "grad_cache": parts > 1,
            }
            candidate = changed(settings, **values)
            if is_allowed(candidate, fewer):
                yield candidate, fewer


def _halvings(gpus: int) -> list[int]:
    counts = [gpus]
    while counts[-1] % 2 == 0:
        counts.append(counts[-1] // 2)
    return counts


@dataclass
class _Lines:
    """Traces at two sizes of a part for each way to compute, and everything between on a line."""

    settings: TrainSettings
    machines: PlanSettings
    _traced: dict[tuple[bool, bool], tuple[Trace, Trace]] = field(default_factory=dict)

    def plan(self, settings: TrainSettings, machines: PlanSettings) -> Plan:
        """Count a candidate by its places on the line: some numbers grow with the works of a part, the others with those of all parts."""
        share = settings.batch_size // machines.gpus
        by_part = self._at(settings, share // settings.micro_batches)
        by_share = self._at(settings, share / _num_traced_parts(settings))
        workspace_bytes = by_part.peak_bytes - by_part.batch_bytes - by_part.contrast_bytes
        peak_bytes = workspace_bytes + by_share.batch_bytes + by_share.contrast_bytes
        return plan_of(settings, machines, replace(by_share, encoded_bytes=by_part.encoded_bytes, peak_bytes=peak_bytes))

    def _at(self, settings: TrainSettings, works: float) -> Trace:
        key = (settings.checkpoint_activations, settings.grad_cache)
        if key not in self._traced:
            self._traced[key] = (self._trace(settings, 1), self._trace(settings, _FAR))
        return between(*self._traced[key], (works - 1) / (_FAR - 1))

    def _trace(self, settings: TrainSettings, works: int) -> Trace:
        """Trace parts of some works, against as many works as the batch has."""
        parts = _num_traced_parts(settings)
        processes = max(1, settings.batch_size // (works * parts))
        small = changed(settings, batch_size=processes * works * parts, micro_batches=parts)
        return trace(planned_sizes(settings), small, self.machines.corpus, processes)


def _num_traced_parts(settings: TrainSettings) -> int:
    return 2 if settings.grad_cache else 1
