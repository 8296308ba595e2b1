"""What an engine does: one optimizer step on this process's part of a global batch, and the state that a resume needs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from reelspace.train.batches import Batch
from reelspace.train.group import Group
from reelspace.train.objective_base import Objective
from reelspace.train.settings import OptimizerSettings, RunSettings


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
        """Take one optimizer step; with `measure`, the figures also have the gradient norm of every part of the loss, where the engine
        can tell it: not of a batch worked through in parts, not where the weights themselves are spread over processes."""

    def save(self, directory: Path) -> None:
        """Write weights and optimizer into an existing directory that all processes share."""

    def load(self, directory: Path, layout: str) -> None:
        """Take up what `save` wrote there in a layout that is not refused; the caller has checked the bytes."""

    def weights(self) -> dict[str, Tensor]:
        """Give every weight of the objective in float32, by name, on the CPU; to the first process only where they do not fit every one."""


def parameter_groups(objective: nn.Module, settings: OptimizerSettings) -> list[dict[str, object]]:
    """Split the parameters: matrices decay; biases, norms, scales and other vectors do not."""
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    # ds_shape: the whole shape of a parameter of which this process holds a piece.
    shapes = [getattr(parameter, "ds_shape", parameter.shape) for parameter in parameters]
    decayed = [parameter for parameter, shape in zip(parameters, shapes, strict=True) if len(shape) > 1]
    others = [parameter for parameter, shape in zip(parameters, shapes, strict=True) if len(shape) <= 1]
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


def prepare(objective: Objective, settings: RunSettings, group: Group) -> Objective:
    """Let an objective see the rows of all processes and compute as the settings say; gives it back, training."""
    objective.gather, objective.rank = group.gather, group.rank
    objective.autocasts = settings.precision == "bf16_autocast"
    for module in objective.modules():
        if hasattr(module, "checkpoints_activations"):
            module.checkpoints_activations = settings.checkpoint_activations  # type: ignore[assignment]
    return objective.train()


def gradient_norms(objective: Objective, group: Group) -> dict[str, float]:
    """Give the norm of each part's gradient, over all processes and without the part's weight, at the weights that the parts share.

    The objective took the gradients itself, inside its forward pass: an engine may act upon a backward pass through what it gave out.
    """
    gradients = objective.part_gradients
    return {name.replace("loss_", "gradient_norm_"): group.mean(gradient).norm().item() for name, gradient in gradients.items()}


def loss_figures(results: Sequence[tuple[Tensor, Mapping[str, Tensor]]], group: Group) -> dict[str, float]:
    """Average the loss and its parts over the parts of a batch and over all processes."""
    names = ("loss", *results[0][1])
    values = torch.stack([torch.stack([loss.detach(), *(part.detach() for part in parts.values())]).float() for loss, parts in results])
    return dict(zip(names, group.mean(values.mean(dim=0)).tolist(), strict=True))
