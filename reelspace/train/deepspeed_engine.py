"""The engine for many processes: DeepSpeed with ZeRO stages 0 to 2. The only home of the deepspeed import."""

import logging
import math
from pathlib import Path
from typing import Any

import deepspeed
import deepspeed.ops
import torch
from torch import Tensor, nn

from reelspace.core.errors import InternalError
from reelspace.train.batches import Batch
from reelspace.train.engine import StepResult, adamw, ask_to_measure, connect, gradient_norms, loss_figures, set_learning_rate
from reelspace.train.group import Group
from reelspace.train.settings import RunSettings

_TAG = "deepspeed"
_NEVER = 10**9


def deepspeed_config(settings: RunSettings, world_size: int) -> dict[str, Any]:
    """Write DeepSpeed's JSON from our settings, the only source of both."""
    return {
        "train_batch_size": settings.batch_size,
        "train_micro_batch_size_per_gpu": settings.batch_size // world_size,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": settings.optimizer.clip_norm,
        "zero_optimization": {"stage": settings.zero_stage, "overlap_comm": False},
        "steps_per_print": _NEVER,
    }


class DeepSpeedEngine:
    """Trains an objective in all processes of the default process group, which must exist."""

    def __init__(self, objective: nn.Module, settings: RunSettings, group: Group) -> None:
        # Without this DeepSpeed builds a C++ extension at start, which needs a compiler and takes most of a minute.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
        connect(objective, group)
        self._group = group
        self._stage = settings.zero_stage
        self.layout = f"deepspeed-zero{settings.zero_stage}-{group.world_size}"
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=objective.train(), optimizer=adamw(objective, settings.optimizer), config=deepspeed_config(settings, group.world_size)
        )

    def step(self, batch: Batch, learning_rate: float, *, measure: bool = False) -> StepResult:
        """Take one optimizer step."""
        set_learning_rate(self._optimizer.param_groups, learning_rate)
        ask_to_measure(self._engine.module, measure=measure)
        loss, parts = self._engine(batch)
        figures = loss_figures(loss, parts, self._group) | gradient_norms(self._engine.module, self._group)
        if not math.isfinite(figures["loss"]):
            return StepResult(figures, is_skipped=True)
        self._engine.backward(loss)
        norm = self._plain_norm() if self._stage == 0 else None
        if norm is not None and not math.isfinite(norm):
            self._engine.zero_grad()
            return StepResult({**figures, "gradient_norm": norm}, is_skipped=True)
        self._engine.step()
        # ZeRO itself leaves the weights alone when the norm is not finite.
        norm = float(self._engine.get_global_grad_norm()) if norm is None else norm
        return StepResult({**figures, "gradient_norm": norm}, is_skipped=not math.isfinite(norm))

    def save(self, directory: Path) -> None:
        """Write weights and optimizer, each process its part."""
        self._engine.save_checkpoint(str(directory), tag=_TAG, save_latest=False)

    def refusal(self, layout: str) -> str | None:
        """Refuse what was written by the other engine, another stage or another number of processes."""
        return None if layout == self.layout else f"was written as {layout}, this training runs as {self.layout}"

    def load(self, directory: Path, layout: str) -> None:
        """Take up what `save` wrote with as many processes and the same stage."""
        path, _ = self._engine.load_checkpoint(str(directory), tag=_TAG)
        if path is None:
            raise InternalError(f"DeepSpeed found no state in {directory}")

    def weights(self) -> dict[str, Tensor]:
        """Give every weight of the objective."""
        return {name: tensor.detach() for name, tensor in self._engine.module.state_dict().items()}

    def _plain_norm(self) -> float:
        """Give the norm of the averaged gradients, which stage 0 neither keeps nor checks."""
        gradients = [parameter.grad for parameter in self._engine.module.parameters() if parameter.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))
