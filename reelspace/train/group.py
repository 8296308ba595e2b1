"""The processes of one training: what they tell each other.

Legend: B rows of this process, G rows of all processes, in order of rank.
"""

from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Group:
    """This process among the `world_size` processes of the default process group; one process alone needs none."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where this process computes."""
    is_first_here: bool | None = None
    """Of machines that share no disk: whether this process writes for its machine; None: all share one, the first process writes."""

    @property
    def is_alone(self) -> bool:
        """Tell whether there is nobody to talk to."""
        return self.world_size == 1

    @property
    def is_apart(self) -> bool:
        """Tell whether the machines share no disk."""
        return self.is_first_here is not None

    @property
    def is_writer(self) -> bool:
        """Tell whether this process writes what those share that share its disk."""
        return self.rank == 0 if self.is_first_here is None else self.is_first_here

    def gather(self, rows_B: Tensor) -> Tensor:
        """Give the rows of all processes, rows_G; gradients flow back to the process each row came from.

        Every process passes as many rows. Without the gradient of the others' rows a contrastive loss learns from wrong gradients.
        """
        if self.is_alone:
            return rows_B
        gathered: Tensor = _Gather.apply(rows_B, self)  # type: ignore[no-untyped-call]
        return gathered

    def mean(self, values: Tensor) -> Tensor:
        """Average over the processes."""
        if self.is_alone:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.world_size

    def any(self, flag: bool) -> bool:
        """Tell all processes the same: whether the flag is set in one of them."""
        if self.is_alone:
            return flag
        flags = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return bool(flags.item())

    def from_first(self, value: int | None) -> int | None:
        """Give every process the value of rank 0."""
        if self.is_alone:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def from_all(self, value: T) -> list[T]:
        """Give every process the values of all, in order of rank."""
        if self.is_alone:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Wait for all."""
        if not self.is_alone:
            dist.barrier()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_B: Tensor, group: Group) -> Tensor:
        ctx.group = group
        parts = [torch.empty_like(rows_B) for _ in range(group.world_size)]
        dist.all_gather(parts, rows_B.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients_G: Tensor) -> tuple[Tensor, None]:
        total = gradients_G[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(ctx.group.world_size)[ctx.group.rank], None
