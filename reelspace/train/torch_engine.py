"""The plain engine: torch's own optimizer, and its DistributedDataParallel among several processes; what DeepSpeed must equal."""

import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from reelspace.train.batches import Batch
from reelspace.train.engine import StepResult, adamw, gradient_norms, loss_figures, prepare, set_learning_rate
from reelspace.train.grad_cache import cache_gradients
from reelspace.train.group import Group
from reelspace.train.objective_base import Objective, Part
from reelspace.train.settings import RunSettings

_STATE_FILE = "torch.pt"


class TorchEngine:
    """Trains an objective whose whole state every process holds."""

    layout = "torch"

    def __init__(self, objective: Objective, settings: RunSettings, group: Group) -> None:
        self._objective = prepare(objective, settings, group).to(group.device)
        self._group = group
        self._settings = settings
        self._optimizer = adamw(objective, settings.optimizer)
        # A modality may be absent from a whole batch, or a head have no part in it.
        self._module = objective if group.is_alone else DistributedDataParallel(objective, find_unused_parameters=True)

    def refusal(self, layout: str) -> str | None:
        """Refuse the states of the other engine."""
        return None if layout == self.layout else f"was written as {layout}, this training runs as {self.layout}"

    def step(self, batch: Batch, learning_rate: float, *, measure: bool = False) -> StepResult:
        """Take one optimizer step."""
        set_learning_rate(self._optimizer.param_groups, learning_rate)
        self._optimizer.zero_grad(set_to_none=True)
        batch = batch.to(self._group.device)
        parts = batch.parts(self._settings.micro_batches)
        self._objective.measures = measure and len(parts) == 1
        figures = self._cached(batch, parts) if self._settings.grad_cache else self._in_parts(parts)
        norm = nn.utils.clip_grad_norm_(self._objective.parameters(), self._settings.optimizer.clip_norm).item()
        if math.isfinite(norm):
            self._optimizer.step()
        return StepResult({**figures, "gradient_norm": norm}, is_skipped=not math.isfinite(norm))

    def save(self, directory: Path) -> None:
        """Write weights and optimizer."""
        if self._group.rank == 0:
            torch.save({"objective": self._objective.state_dict(), "optimizer": self._optimizer.state_dict()}, directory / _STATE_FILE)

    def load(self, directory: Path, layout: str) -> None:
        """Take up what `save` wrote."""
        state = torch.load(directory / _STATE_FILE, map_location=self._group.device, weights_only=True)
        self._objective.load_state_dict(state["objective"])
        self._optimizer.load_state_dict(state["optimizer"])

    def weights(self) -> dict[str, Tensor]:
        """Give every weight of the objective."""
        return {name: tensor.detach().cpu() for name, tensor in self._objective.state_dict().items()}

    def _in_parts(self, parts: list[Batch]) -> dict[str, float]:
        """Add up the gradients of the parts, each contrasted alone."""
        results = []
        for number, part in enumerate(parts):
            with self._talking(is_last=number == len(parts) - 1):
                loss, values = self._module(part, Part(begins=number == 0))
                (loss / len(parts)).backward()
            results.append((loss, values))
        return loss_figures(results, self._group) | gradient_norms(self._objective, self._group)

    def _cached(self, batch: Batch, parts: list[Batch]) -> dict[str, float]:
        """Add up the gradients of the parts, contrasted all together."""
        cached = cache_gradients(self._module, self._objective, batch, parts)
        for number, share in enumerate(cached.passes):
            with self._talking(is_last=number == len(parts) - 1):
                surrogate, _ = self._module(*share)
                surrogate.backward()
        return loss_figures([(cached.loss, cached.values)], self._group)

    def _talking(self, *, is_last: bool) -> AbstractContextManager[None]:
        """Let only the last pass of a step average gradients over the processes."""
        if isinstance(self._module, DistributedDataParallel) and not is_last:
            return self._module.no_sync()
        return nullcontext()
