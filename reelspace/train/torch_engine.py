"""The plain engine: one process, one optimizer; what the others must equal."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from reelspace.train.batches import Batch
from reelspace.train.engine import StepResult, adamw, ask_to_measure, connect, gradient_norms, loss_figures, set_learning_rate
from reelspace.train.group import Group
from reelspace.train.settings import OptimizerSettings

_STATE_FILE = "torch.pt"


class TorchEngine:
    """Trains an objective in this process alone."""

    layout = "torch"

    def __init__(self, objective: nn.Module, settings: OptimizerSettings) -> None:
        self._objective = objective.train()
        self._group = Group()
        connect(objective, self._group)
        self._settings = settings
        self._optimizer = adamw(objective, settings)

    def step(self, batch: Batch, learning_rate: float, *, measure: bool = False) -> StepResult:
        """Take one optimizer step."""
        set_learning_rate(self._optimizer.param_groups, learning_rate)
        ask_to_measure(self._objective, measure=measure)
        loss, parts = self._objective(batch)
        figures = loss_figures(loss, parts, self._group) | gradient_norms(self._objective, self._group)
        if not math.isfinite(figures["loss"]):
            return StepResult(figures, is_skipped=True)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._objective.parameters(), self._settings.clip_norm).item()
        if math.isfinite(norm):
            self._optimizer.step()
        return StepResult({**figures, "gradient_norm": norm}, is_skipped=not math.isfinite(norm))

    def save(self, directory: Path) -> None:
        """Write weights and optimizer."""
        torch.save({"objective": self._objective.state_dict(), "optimizer": self._optimizer.state_dict()}, directory / _STATE_FILE)

    def refusal(self, layout: str) -> str | None:
        """Refuse the states of the other engine."""
        return None if layout == self.layout else f"was written as {layout}, this training runs as {self.layout}"

    def load(self, directory: Path, layout: str) -> None:
        """Take up what `save` wrote."""
        state = torch.load(directory / _STATE_FILE, map_location="cpu", weights_only=True)
        self._objective.load_state_dict(state["objective"])
        self._optimizer.load_state_dict(state["optimizer"])

    def weights(self) -> dict[str, Tensor]:
        """Give every weight of the objective."""
        return {name: tensor.detach() for name, tensor in self._objective.state_dict().items()}
