"""What an engine does: one optimizer step on this process's part of a global batch, and the state that a resume needs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from reelspace.train.batches import Batch
from reelspace.train.group import Group
from reelspace.train.settings import OptimizerSettings


class Objective(Protocol):
    """An nn.Module over the model that gives the loss of this process's rows; losses average over processes to the global one."""

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the loss and its parts."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step did: figures are the `loss` and its parts over all processes and the `gradient_norm` before clipping.

    A step whose loss or gradient is not finite changes no weight (`is_skipped`).
    """

    figures: Mapping[str, float]
    is_skipped: bool


class Engine(Protocol):
    """Holds the objective's weights and the optimizer; every process calls every method."""

    layout: str
    """How the state is spread over files: it goes into every checkpoint's manifest."""

    def refusal(self, layout: str) -> str | None:
        """Say why a state of another layout cannot be taken up; None: `load` can."""

    def step(self, batch: Batch, learning_rate: float, *, measure: bool = False) -> StepResult:
        """Take one optimizer step; with `measure`, the figures also have the gradient norm of every part of the loss."""

    def save(self, directory: Path) -> None:
        """Write weights and optimizer into an existing directory that all processes share."""

    def load(self, directory: Path, layout: str) -> None:
        """Take up what `save` wrote there in a layout that is not refused; the caller has checked the bytes."""

    def weights(self) -> dict[str, Tensor]:
        """Give every weight of the objective in float32, by name."""


def parameter_groups(objective: nn.Module, settings: OptimizerSettings) -> list[dict[str, object]]:
    """Split the parameters: matrices decay; biases, norms, scales and other vectors do not."""
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in parameters if parameter.dim() > 1]
    others = [parameter for parameter in parameters if parameter.dim() <= 1]
    return [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]


def adamw(objective: nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """Make the optimizer of either engine."""
    return torch.optim.AdamW(
        parameter_groups(objective, settings), lr=settings.learning_rate, betas=(settings.beta1, settings.beta2), fused=True
    )


def set_learning_rate(groups: Iterable[dict[str, object]], learning_rate: float) -> None:
    """Set the learning rate of an optimizer's parameter groups."""
    for group in groups:
        group["lr"] = learning_rate


def connect(objective: nn.Module, group: Group) -> None:
    """Let an objective see the rows of all processes."""
    objective.gather = group.gather  # type: ignore[assignment]
    objective.rank = group.rank  # type: ignore[assignment]


def ask_to_measure(objective: nn.Module, *, measure: bool) -> None:
    """Tell an objective whether its next forward pass shall keep the gradient of each part of its loss."""
    objective.measure = measure  # type: ignore[assignment]


def gradient_norms(objective: nn.Module, group: Group) -> dict[str, float]:
    """Give the norm of each part's gradient, over all processes and without the part's weight, at the weights that the parts share.

    The objective took the gradients itself, inside its forward pass: an engine may act upon a backward pass through what it gave out.
    """
    gradients: Mapping[str, Tensor] = getattr(objective, "part_gradients", {})
    return {name.replace("loss_", "gradient_norm_"): group.mean(gradient).norm().item() for name, gradient in gradients.items()}


def loss_figures(loss: Tensor, parts: Mapping[str, Tensor], group: Group) -> dict[str, float]:
    """Average the loss and its parts over all processes."""
    values = torch.stack([loss.detach(), *(part.detach() for part in parts.values())])
    return dict(zip(("loss", *parts), group.mean(values).tolist(), strict=True))
