"""A plan in words and numbers: for people as lines, for machines as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from reelspace.train.plan.effort import peak, sustained
from reelspace.train.plan.memory import GIB
from reelspace.train.plan.plan import Plan, as_text

# What a sweep chooses and a run must be told.
_TOLD = (
    "zero_stage",
    "offload",
    "precision",
    "checkpoint_activations",
    "micro_batches",
    "grad_cache",
    "batch_size",
    "vocabulary_size",
    "model",
)


def lines(plan: Plan) -> list[str]:
    """Tell a plan: parameters, memory with its arithmetic, FLOPs, time, storage, money."""
    settings, machines = plan.settings, plan.machines
    share, parts = settings.batch_size // machines.gpus, settings.micro_batches
    contrasted = "contrasted all together" if settings.grad_cache else "each part contrasted alone"
    head = (
        f"{settings.model} on {machines.gpus} x {machines.gpu_memory_gib:g} GiB, {settings.precision}: "
        f"P = {plan.traced.num_parameters / 1e6:,.1f} million parameters; {settings.batch_size:,} works a step, {share:,} a GPU"
        + (f" in {parts} parts, {contrasted}" if parts > 1 else "")
    )
    return [head, "", *_memory_lines(plan), "", *_effort_lines(plan), "", "settings: " + overrides(plan)]


def overrides(plan: Plan) -> str:
    """Give the options that put a plan's settings into a run."""
    return " ".join(f"--set pretrain.{name}={as_text(getattr(plan.settings, name))}" for name in _TOLD)


def as_json(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """Give plans for machines; bytes, seconds, FLOPs of one step of all processes."""
    return [
        {
            "fits": plan.fits,
            "num_parameters": plan.traced.num_parameters,
            "gpus": plan.machines.gpus,
            "memory": {part.name: part.size_bytes for part in plan.memory.parts},
            "memory_total_bytes": plan.memory.total_bytes,
            "node_bytes": plan.memory.node_bytes,
            "effort": asdict(plan.effort),
            "settings": plan.settings.model_dump(mode="json"),
            "machines": plan.machines.model_dump(mode="json"),
        }
        for plan in plans
    ]


def _memory_lines(plan: Plan) -> list[str]:
    rows = [f"{part.name:<16}{part.size_bytes / GIB:>9.2f} GiB  {part.arithmetic}" for part in plan.memory.parts]
    limit = plan.machines.gpu_memory_gib
    verdict = "fits" if plan.fits else "does not fit"
    total = f"{'of each GPU':<16}{plan.memory.total_bytes / GIB:>9.2f} GiB  {verdict} {limit:g} GiB"
    if not plan.memory.node_bytes:
        return [*rows, total]
    return [
        *rows,
        total,
        f"{'of each machine':<16}{plan.memory.node_bytes / GIB:>9.2f} GiB  what is offloaded, and half of it again for buffers",
    ]


def _effort_lines(plan: Plan) -> list[str]:
    settings, machines, found = plan.settings, plan.machines, plan.effort
    traced, scale = plan.traced, machines.gpus / 1e12
    source = "assumed" if machines.throughput is None else "measured"
    rows = [
        ("FLOPs a step", f"{traced.forward_flops * scale:,.1f} T forward + {traced.backward_flops * scale:,.1f} T backward"),
        ("  beyond these", f"{found.recompute_flops / 1e12:,.1f} T computed anew, in GradCache's first pass and for the labels' texts"),
        ("throughput", f"{sustained(settings, machines) / 1e12:,.1f} of {peak(settings, machines) / 1e12:,.1f} TFLOP/s a GPU, {source}"),
        (
            "a step",
            f"{found.step.total_s:,.2f} s: {found.step.compute_s:,.2f} computing + {found.step.talk_s:,.2f} talking at "
            f"{machines.link_gb_s:g} GB/s + {found.step.offload_s:,.2f} offloading",
        ),
        ("utilisation", f"{found.utilisation:.2f} of the peak by model FLOPs"),
        ("the run", f"{found.num_steps:,} steps, {found.hours:,.1f} h, {found.gpu_hours:,.0f} GPU hours"),
        (
            "checkpoints",
            f"{found.checkpoint_bytes / GIB:,.1f} GiB each, {found.storage_bytes / GIB:,.1f} GiB for those that are kept and one more",
        ),
    ]
    if found.usd is not None:
        rows.append(("money", f"{found.usd:,.0f} USD at {machines.price:g} a GPU hour"))
    return [f"{name:<16}{text}" for name, text in rows]
