"""Shards and machines: as many as memory needs, and copies of them until the rate is answered."""

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from reelspace.core.errors import UserError
from reelspace.search.planning.effort import ON_GPU, Effort, effort, gpu_seconds
from reelspace.search.planning.index_bytes import Part, index_parts, rerank_bytes, reranks_from_disk
from reelspace.search.planning.measured import RERANK_FACTORS, Kind
from reelspace.search.planning.settings import SearchPlanSettings

Processor: TypeAlias = Literal["cpu", "gpu"]
PROCESSORS: Final[tuple[Processor, ...]] = ("cpu", "gpu")
K: Final = 10


class ShardsTooLarge(UserError):
    """Shards of the number that was asked for fit no machine."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a collection runs.

    Args:
        parts: bytes of a row in memory.
        shard_bytes: of one shard, all generations that are in memory.
        shards_per_machine: that fit.
        machines_per_copy: that hold every shard once.
        seconds: of one core, or of the GPU, per query and shard.
        capacity: queries a second that one copy answers at the planned load.
        disk_reads: per query and shard.
    """

    processor: Processor
    kind: Kind
    parts: tuple[Part, ...]
    num_shards: int
    shard_rows: float
    shard_bytes: float
    shards_per_machine: int
    machines_per_copy: int
    effort: Effort
    seconds: float
    disk_reads: int
    capacity: float
    num_copies: int

    @property
    def row_bytes(self) -> float:
        """Bytes of a row in memory, of one generation."""
        return sum(part.size_bytes for part in self.parts)

    @property
    def num_machines(self) -> int:
        """All machines that hold shards."""
        return self.machines_per_copy * self.num_copies


def cluster(kind: Kind, processor: Processor, plan: SearchPlanSettings) -> Cluster:
    """Size a cluster.

    Raises:
        ShardsTooLarge: a shard fits no machine; names the least number of shards.
        UserError: not even a row does.
    """
    machine = plan.gpu if processor == "gpu" else plan.cpu
    usable = machine.memory_gb * 1e9 * (1 - plan.margin)
    num_shards = plan.shards or needed_shards(kind, plan, usable)
    shard_rows = plan.rows / num_shards
    shard_bytes = _shard_bytes(kind, plan, shard_rows)
    if shard_bytes > usable:
        least = needed_shards(kind, plan, usable)
        raise ShardsTooLarge(
            f"{num_shards:,} shards take {shard_bytes / 1e9:,.2f} GB each, {usable / 1e9:,.2f} are free; use {least:,} or more"
        )
    per_machine = min(num_shards, int(usable // shard_bytes))
    found = effort(kind, plan.dimension, plan.rows, shard_rows, plan.recall)
    seconds = gpu_seconds(kind, plan.dimension, shard_rows, found.measured.effort, plan.gpu) if processor == "gpu" else found.seconds
    reads = K * RERANK_FACTORS[kind] if reranks_from_disk(kind) else 0
    threads = 1 if processor == "gpu" else plan.cpu.cores
    capacity = threads / (seconds * per_machine)
    if reads:
        capacity = min(capacity, machine.disk_reads_per_s / (reads * per_machine))
    return Cluster(
        processor=processor,
        kind=kind,
        parts=tuple(memory_parts(kind, plan, shard_rows)),
        num_shards=num_shards,
        shard_rows=shard_rows,
        shard_bytes=shard_bytes,
        shards_per_machine=per_machine,
        machines_per_copy=math.ceil(num_shards / per_machine),
        effort=found,
        seconds=seconds,
        disk_reads=reads,
        capacity=capacity * plan.load,
        num_copies=max(plan.replicas, math.ceil(plan.rate / (capacity * plan.load))),
    )


def processors_of(kind: Kind) -> tuple[Processor, ...]:
    """Give where an index type runs; fast-scan and graphs have no form on a GPU."""
    return PROCESSORS if kind in ON_GPU else ("cpu",)


def memory_parts(kind: Kind, plan: SearchPlanSettings, shard_rows: float) -> list[Part]:
    """Give what a row takes in memory, bytes."""
    parts = index_parts(kind, plan.dimension, shard_rows)
    if rerank_bytes(kind, plan.dimension) and not reranks_from_disk(kind):
        parts.append(Part("re-ranking", rerank_bytes(kind, plan.dimension), f"4 x {plan.dimension}, scored again"))
    parts.append(Part("row", plan.row_bytes, "id and bit of deletion"))
    if plan.payload_bytes:
        parts.append(Part("payload", plan.payload_bytes, "as given"))
    return parts


def needed_shards(kind: Kind, plan: SearchPlanSettings, usable_bytes: float) -> int:
    """Give the least number of shards of which each fits a machine."""
    num_shards = 1
    # Smaller shards have more centres per row, so that the first guess may be too small.
    while (size := _shard_bytes(kind, plan, plan.rows / num_shards)) > usable_bytes:
        num_shards = max(num_shards + 1, math.ceil(num_shards * size / usable_bytes))
        if num_shards > plan.rows:
            raise UserError(f"one row of {kind} takes more than the {usable_bytes / 1e9:g} GB of a machine")
    return num_shards


def _shard_bytes(kind: Kind, plan: SearchPlanSettings, shard_rows: float) -> float:
    return plan.generations * shard_rows * sum(part.size_bytes for part in memory_parts(kind, plan, shard_rows))
