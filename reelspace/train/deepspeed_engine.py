"""The engine for many processes: DeepSpeed with ZeRO stages 0 to 3. The only home of the deepspeed import."""

import logging
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import deepspeed
import deepspeed.ops
import torch
from deepspeed.runtime.zero import GatheredParameters
from deepspeed.utils import safe_get_full_fp32_param
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from reelspace.core.errors import InternalError
from reelspace.train.batches import Batch
from reelspace.train.deepspeed_config import deepspeed_config
from reelspace.train.engine import StepResult, adamw, gradient_norms, loss_figures, prepare, set_learning_rate
from reelspace.train.grad_cache import cache_gradients
from reelspace.train.group import Group
from reelspace.train.objective_base import Objective, Part
from reelspace.train.settings import RunSettings
from reelspace.train.universal_checkpoint import Layout, convert

_TAG = "deepspeed"
_BUFFERS = "buffers.safetensors"
_UNIVERSAL = "universal"


class DeepSpeedEngine:
    """Trains an objective in all processes of the default process group, which must exist."""

    def __init__(self, objective: Objective, settings: RunSettings, group: Group) -> None:
        # Without this DeepSpeed builds a C++ extension at start, which needs a compiler and takes most of a minute.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
        self._objective = prepare(objective, settings, group)
        self._group = group
        self._settings = settings
        self._stage = settings.zero_stage
        self._plain_norm = math.nan
        self._layout = Layout(settings.zero_stage, group.world_size)
        self.layout = str(self._layout)
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=objective, optimizer=adamw(objective, settings.optimizer), config=deepspeed_config(settings, group.world_size)
        )

    def refusal(self, layout: str) -> str | None:
        """Refuse what was written by the other engine or by a stage that spreads other things."""
        written = Layout.read(layout)
        if written is None:
            return f"was written as {layout}, this training runs as {self.layout}"
        if written.family != self._layout.family:
            return f"was written by ZeRO stage {written.stage}, whose files stage {self._layout.stage} cannot read"
        return None

    def step(self, batch: Batch, learning_rate: float, *, measure: bool = False) -> StepResult:
        """Take one optimizer step."""
        set_learning_rate(self._optimizer.param_groups, learning_rate)
        batch = batch.to(self._engine.device)
        parts = batch.parts(self._settings.micro_batches)
        self._objective.measures = measure and len(parts) == 1 and self._stage < 3
        figures = self._cached(batch, parts) if self._settings.grad_cache else self._in_parts(parts)
        norm = self._norm()
        return StepResult({**figures, "gradient_norm": norm}, is_skipped=not math.isfinite(norm))

    def save(self, directory: Path) -> None:
        """Write weights and optimizer, each process its part."""
        self._engine.save_checkpoint(str(directory), tag=_TAG, save_latest=False)
        if self._group.rank == 0:
            save_file(self._buffers(), directory / _BUFFERS)

    def load(self, directory: Path, layout: str) -> None:
        """Take up what `save` wrote; the state of another number of processes is first cut anew, by the first, beside the checkpoints."""
        written = Layout.read(layout)
        assert written is not None, "the caller asked for a refusal"
        if self._layout.fits(written):
            self._load(directory, _TAG)
            return
        cut = directory.parent / f"{_UNIVERSAL}-{directory.name}"
        if self._group.is_writer:
            shutil.rmtree(cut, ignore_errors=True)
            convert(directory / _TAG, cut / _TAG, written.stage)
        self._group.barrier()
        values = [{name: value for name, value in group.items() if name != "params"} for group in self._optimizer.param_groups]
        # Asked for when DeepSpeed starts it would refuse every other checkpoint; it looks when it loads.
        self._engine._config.load_universal_checkpoint = True
        self._load(cut, _TAG)
        self._engine._config.load_universal_checkpoint = False
        for group, own in zip(self._optimizer.param_groups, values, strict=True):
            # Stage 3 gives every group the weight decay of the first, and all one counter of steps, which each would advance.
            group.update(own)
        for state in self._optimizer.optimizer.state.values():
            state["step"] = state["step"].clone()
        # Universal checkpoints hold what is trained, and nothing else.
        self._take_buffers(load_file(directory / _BUFFERS))
        self._group.barrier()
        if self._group.is_writer:
            shutil.rmtree(cut)

    def weights(self) -> dict[str, Tensor]:
        """Give every weight of the objective, from the float32 masters where there are any; to the first process only."""
        is_first = self._group.rank == 0
        weights = self._buffers() if is_first else {}
        for name, parameter in self._objective.named_parameters():
            # Every process takes part, one parameter after the other: all at once need not fit.
            whole = self._whole(parameter)
            if is_first:
                weights[name] = whole.detach().float().cpu().clone()
        return weights

    def _whole(self, parameter: nn.Parameter) -> Tensor:
        if parameter.requires_grad:
            master = safe_get_full_fp32_param(parameter)
            return parameter if master is None else master
        with GatheredParameters([parameter], enabled=self._stage == 3):
            return parameter.detach().clone()

    def _buffers(self) -> dict[str, Tensor]:
        """Give what belongs to the state and is not trained."""
        trained = {name for name, _ in self._objective.named_parameters()}
        return {name: value.detach().cpu().clone() for name, value in self._objective.state_dict().items() if name not in trained}

    def _take_buffers(self, buffers: Mapping[str, Tensor]) -> None:
        own = dict(self._objective.named_buffers())
        for name, value in buffers.items():
            own[name].copy_(value)

    def _load(self, directory: Path, tag: str) -> None:
        path, _ = self._engine.load_checkpoint(str(directory), tag=tag)
        if path is None:
            raise InternalError(f"DeepSpeed found no state in {directory / tag}")

    def _in_parts(self, parts: list[Batch]) -> dict[str, float]:
        """Add up the gradients of the parts, each contrasted alone, and step."""
        results = []
        for number, part in enumerate(parts):
            loss, values = self._engine(part, Part(begins=number == 0))
            self._engine.backward(loss)
            results.append((loss, values))
            self._advance(is_last=number == len(parts) - 1)
        return loss_figures(results, self._group) | gradient_norms(self._objective, self._group)

    def _cached(self, batch: Batch, parts: list[Batch]) -> dict[str, float]:
        """Add up the gradients of the parts, contrasted all together, and step."""
        cached = cache_gradients(self._engine, self._objective, batch, parts)
        for number, share in enumerate(cached.passes):
            surrogate, _ = self._engine(*share)
            # The engine divides what it is given by the number of parts.
            self._engine.backward(surrogate * len(parts))
            self._advance(is_last=number == len(parts) - 1)
        return loss_figures([(cached.loss, cached.values)], self._group)

    def _advance(self, *, is_last: bool) -> None:
        """Tell DeepSpeed that a part is done, or step; ZeRO itself leaves the weights alone when the norm is not finite."""
        if is_last and self._stage == 0:
            self._plain_norm = self._norm_of_gradients()
            if not math.isfinite(self._plain_norm):
                # Stage 0 would take it: the gradients go, and the part is counted as done.
                self._engine.zero_grad()
                self._engine.micro_steps += 1
                return
        self._engine.step()

    def _norm(self) -> float:
        return self._plain_norm if self._stage == 0 else float(self._engine.get_global_grad_norm())

    def _norm_of_gradients(self) -> float:
        """Give the norm of the averaged gradients, which stage 0 neither keeps nor checks."""
        gradients = [parameter.grad for parameter in self._objective.parameters() if parameter.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))
