"""What every objective is: vectors that the weights make of works, and losses that contrast them.

Legend: B works of this process, P works of a part of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reelspace.model.losses import Gather, alone
from reelspace.train.batches import Batch

Encoded = Mapping[str, Tensor]
"""Tensors by name."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a pass over a part of a batch does beside encoding its works."""

    begins: bool = True
    """Begin the step."""
    shares: bool = True
    """Make what all works share."""


WHOLE = Part()


class Objective(nn.Module):
    """A loss over a batch, cut where a batch may be worked through in parts: all weights are used before the cut, none after it.

    A subclass gives `encode`, `losses` and, where it has tensors that belong to no work, `shared`. Losses average over processes to the
    loss of all their works together, so that the number of processes changes nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gather: Gather = alone
        """Gives the rows of all processes, with gradients."""
        self.rank = 0
        self.autocasts = False
        """Whether weights are used in bfloat16."""
        self.measures = False
        """Whether the next pass keeps the gradient of each part of the loss."""
        self.part_gradients: dict[str, Tensor] = {}

    def begin(self, batch: Batch) -> None:
        """Do what the step of a batch needs once, before anything is encoded."""

    def encode(self, batch: Batch) -> Encoded:
        """Give tensors with one row for each work of the batch, which do not depend on its other works."""
        raise NotImplementedError

    def shared(self, batch: Batch) -> Encoded:
        """Give the tensors that all works of a batch share: they depend on the labels it asks about, not on its works."""
        return {}

    def losses(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the loss and its parts, which are without their weights, of what `encode` and `shared` gave."""
        raise NotImplementedError

    def shared_weights(self) -> list[Tensor]:
        """Give weights that every loss reads through: where the gradients of the losses are compared; none: they are not."""
        return []

    def forward(self, batch: Batch, part: Part = WHOLE, pass_: "Pass | None" = None) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Give the loss of this process's rows and its parts; or what another pass over the batch asks for."""
        if part.begins:
            self.begin(batch)
        with torch.autocast(batch.ids_B.device.type, torch.bfloat16, enabled=self.autocasts):
            encoded = {**self.encode(batch), **(self.shared(batch) if part.shares else {})}
        if pass_ is not None:
            return pass_(encoded)
        loss, parts = self.losses(encoded, batch)
        weights = self.shared_weights() if self.measures else []
        self.part_gradients = {name: _gradient(value, weights) for name, value in parts.items()} if weights else {}
        return loss, parts


Pass = Callable[[Encoded], tuple[Tensor, Encoded]]
"""Makes the answer of a pass from what was encoded."""


def _gradient(value: Tensor, weights: list[Tensor]) -> Tensor:
    """Give the gradient of one part at some weights, in one row of numbers; the graph stays for the backward pass."""
    found = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
    gradients = [torch.zeros_like(weight) if gradient is None else gradient for weight, gradient in zip(weights, found, strict=True)]
    return torch.cat([gradient.flatten() for gradient in gradients])
