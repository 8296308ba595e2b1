"""Contrasting a whole batch that is worked through in parts (Gao et al. 2021, "Scaling deep contrastive learning batch size").

A first pass makes all vectors without keeping how; the losses give each vector its gradient; a second pass makes the vectors of one part
after the other again and sends those gradients back. Legend: B works of this process, P works of a part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from reelspace.train.batches import Batch
from reelspace.train.objective_base import Encoded, Objective, Part, Pass


class Forward(Protocol):
    """An objective as its engine calls it."""

    def __call__(self, batch: Batch, part: Part, pass_: Pass | None) -> tuple[Tensor, Encoded]:
        """Give what `Objective.forward` gives."""


@dataclass(frozen=True, slots=True)
class Cached:
    """The loss of a whole batch and its parts, and for each part of the batch the pass that sends the gradients back.

    What all works share has half its gradient in the first one and half in the last. A weight that got nothing in the first pass would keep
    the sum of the step before under DeepSpeed's ZeRO-3, which writes in the first and adds in the others; one that got nothing in the last
    would keep it under offload, which takes sums to the CPU as the last pass makes them; DistributedDataParallel averages what that uses.
    """

    loss: Tensor
    values: dict[str, Tensor]
    passes: Sequence[tuple[Batch, Part, Pass]]


def cache_gradients(forward: Forward, objective: Objective, batch: Batch, parts: Sequence[Batch]) -> Cached:
    """Run the first pass over the parts of a batch, and the losses of the whole.

    Sent back part after part and added up, the gradients are those of the whole batch in one pass, up to rounding.
    """
    with torch.no_grad():
        encoded = [dict(forward(part, Part(begins=part is parts[0], shares=part is parts[0]), _answer)[1]) for part in parts]
    rows = {name: torch.cat([part[name].float() for part in encoded]).requires_grad_() for name in encoded[-1]}
    shared = {name: value.detach().float().requires_grad_() for name, value in encoded[0].items() if name not in rows}
    loss, values = objective.losses({**rows, **shared}, batch)
    gradients = _gradients(loss, {**rows, **shared})
    sizes = [len(part.ids_B) for part in parts]
    pieces = {name: torch.split(gradients[name], sizes) for name in rows if name in gradients}
    own = [{name: pieces[name][number] for name in pieces} for number in range(len(parts))]
    ends = {0, len(parts) - 1}
    for number in ends:
        own[number] |= {name: gradients[name] / len(ends) for name in shared if name in gradients}
    passes = [(part, Part(begins=False, shares=number in ends), _sender(own[number])) for number, part in enumerate(parts)]
    return Cached(loss.detach(), values, passes)


def _gradients(loss: Tensor, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the gradient at each tensor that the loss reads."""
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(leaves, found, strict=True) if gradient is not None}


def _answer(encoded: Encoded) -> tuple[Tensor, Encoded]:
    return next(iter(encoded.values())), encoded


def _sender(gradients: Encoded) -> Callable[[Encoded], tuple[Tensor, Encoded]]:
    """Give the pass whose answer has the given gradients at what is encoded."""

    def send(encoded: Encoded) -> tuple[Tensor, Encoded]:
        terms = [(encoded[name].float() * gradient).sum() for name, gradient in gradients.items()]
        return torch.stack(terms).sum(), {}

    return send
