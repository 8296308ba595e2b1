"""What one step of the real objective costs a process, without its weights: bytes that live at a time, and FLOPs.

The objective is built and run on fake tensors, which have shapes and no memory, so a model of any size is traced in seconds.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from reelspace.model.settings import ModelSettings
from reelspace.train.batches import Batch
from reelspace.train.engine import prepare
from reelspace.train.grad_cache import cache_gradients
from reelspace.train.group import Group
from reelspace.train.objective import PretrainObjective
from reelspace.train.objective_base import Encoded, Part, Pass
from reelspace.train.plan.example import example_batch, example_objective, num_masked
from reelspace.train.plan.ledger import Ledger
from reelspace.train.plan.settings import CorpusSettings
from reelspace.train.settings import TrainSettings


@dataclass(frozen=True, slots=True)
class Trace:
    """One step of one process; bytes are those of activations and temporaries, without weights and gradients.

    batch_bytes: the process's share of the batch.
    encoded_bytes: what the encoders keep for the backward pass of one part of the share.
    contrast_bytes: what the losses keep beside: the logits between these rows and those of all processes, mostly.
    refresh_bytes: the most that lives beside the batch while all labels' texts are read, before a step's first pass.
    peak_bytes: the most that lives at a time in a pass, all of the above included; a gradient counts until it has arrived at its parameter.
    full_peak_bytes: the same together with the gradients that have arrived by then.
    cache_flops: FLOPs of the first pass of GradCache, which only makes vectors.
    recompute_flops: FLOPs of activations that are computed anew on the way back.
    refresh_flops: FLOPs of reading all labels' texts anew, a step's share of them.
    """

    num_parameters: int
    buffer_bytes: int
    batch_bytes: int
    encoded_bytes: int
    contrast_bytes: int
    refresh_bytes: int
    peak_bytes: int
    full_peak_bytes: int
    forward_flops: int
    backward_flops: int
    recompute_flops: int
    cache_flops: int
    refresh_flops: int

    @property
    def model_flops(self) -> int:
        """FLOPs that the gradient needs, however it is computed."""
        return self.forward_flops + self.backward_flops

    @property
    def flops(self) -> int:
        """All FLOPs."""
        return self.model_flops + self.recompute_flops + self.cache_flops + self.refresh_flops


def trace(sizes: ModelSettings, settings: TrainSettings, corpus: CorpusSettings, num_processes: int) -> Trace:
    """Run the objective of these sizes and settings over one process's share of a batch, forward and backward."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        objective = example_objective(sizes, settings, corpus)
        prepare(objective, settings, Group())
        if settings.precision in ("bf16", "bf16_all"):
            _to_bfloat16(objective)
        objective.gather = partial(_of_all, num_processes=num_processes)
        with Ledger(objective, num_masked(sizes.text_length, settings), corpus.num_labels, corpus.neighbours(settings)) as ledger:
            batch = example_batch(sizes, settings, corpus, settings.batch_size // num_processes)
            return _traced(_Step(objective, batch, ledger, settings.micro_batches), settings)


def between(one: Trace, other: Trace, share: float) -> Trace:
    """Give the trace on the straight line between two, `share` of the way: all its numbers grow evenly with the works of a part."""
    return Trace(*(round(low + (high - low) * share) for low, high in zip(astuple(one), astuple(other), strict=True)))


def _of_all(rows_B: Tensor, num_processes: int) -> Tensor:
    """Stand for the gather: as many rows as all processes have."""
    return torch.cat([rows_B] * num_processes)


def _to_bfloat16(objective: nn.Module) -> None:
    """Do what `Module.bfloat16` does, which refuses fake tensors."""
    for module in objective.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(parameter.detach().bfloat16()))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.bfloat16() if buffer.is_floating_point() else buffer)


class _Step:
    """The passes of one step; each part of a share but the last is as large as the others, so only some are run."""

    def __init__(self, objective: PretrainObjective, batch: Batch, ledger: Ledger, num_parts: int) -> None:
        self.objective, self.batch, self.ledger = objective, batch, ledger
        self.batch_bytes = ledger.live_bytes
        self.parts = batch.parts(num_parts)
        self.contrast_bytes = 0

    def refresh(self) -> tuple[int, int]:
        """Read all labels' texts; gives FLOPs and bytes."""
        self.ledger.take_peak()
        if self.objective.label_head is not None:
            self.objective.label_head.refresh(self.objective.model.encode_text)
        return self.ledger.take_flops(), self.ledger.take_peak() - self.batch_bytes

    def contrast(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the losses of what was encoded, and note what they keep."""
        before = self.ledger.live_bytes
        loss, parts = self.objective.losses(encoded, batch)
        self.contrast_bytes = self.ledger.live_bytes - before
        return loss, parts

    def run(self, batch: Batch, part: Part, pass_: Pass) -> tuple[int, int, int]:
        """Encode one part, forward and backward; gives the FLOPs of both, and the bytes between them."""
        before = self.ledger.live_bytes
        answer, _ = self.objective(batch, part, pass_)
        kept, forward = self.ledger.live_bytes - before, self.ledger.take_flops()
        with self.ledger.backward():
            answer.backward()
        return forward, self.ledger.take_flops(), kept


def _traced(step: _Step, settings: TrainSettings) -> Trace:
    refresh_flops, refresh_bytes = step.refresh()
    run = _cached if settings.grad_cache else _plain
    forward, backward, recompute, cache, encoded_bytes = run(step)
    objective = step.objective
    return Trace(
        num_parameters=sum(parameter.numel() for parameter in objective.parameters()),
        buffer_bytes=_bytes_of(objective),
        batch_bytes=step.batch_bytes,
        encoded_bytes=encoded_bytes,
        contrast_bytes=step.contrast_bytes,
        refresh_bytes=refresh_bytes,
        peak_bytes=step.ledger.peak_bytes,
        full_peak_bytes=step.ledger.full_peak_bytes,
        forward_flops=forward,
        backward_flops=backward,
        recompute_flops=recompute,
        cache_flops=cache,
        refresh_flops=refresh_flops // settings.objective.refresh_labels_every,
    )


def _plain(step: _Step) -> tuple[int, int, int, int, int]:
    """Every part is contrasted alone."""
    num, part = len(step.parts), step.parts[-1]
    forward, backward, kept = step.run(part, Part(begins=False), lambda encoded: step.contrast(encoded, part))
    return forward * num, backward * num, step.ledger.recompute_flops * num, 0, kept - step.contrast_bytes


def _cached(step: _Step) -> tuple[int, int, int, int, int]:
    """The whole share is contrasted at once; the first part also makes what all works share."""
    num = len(step.parts)
    cached = cache_gradients(_Once(step.objective), _Noting(step), step.batch, step.parts)  # type: ignore[arg-type]
    step.ledger.take_flops()
    last = step.run(*cached.passes[-1])
    recompute = step.ledger.recompute_flops
    first = step.run(*cached.passes[0])
    forward, backward = (of_last * (num - 1) + of_first for of_last, of_first in zip(last[:2], first[:2], strict=True))
    return forward, backward, recompute * (num - 2) + step.ledger.recompute_flops, forward, first[2]


class _Once:
    """An objective that encodes the first part of a batch and one other: the rest are as large."""

    def __init__(self, objective: PretrainObjective) -> None:
        self._objective = objective
        self._encoded: dict[bool, Any] = {}

    def __call__(self, batch: Batch, part: Part, pass_: Pass | None) -> Any:
        """Give what the objective gives, or what it gave."""
        if part.shares not in self._encoded:
            self._encoded[part.shares] = self._objective(batch, Part(begins=False, shares=part.shares), pass_)
        return self._encoded[part.shares]


@dataclass(frozen=True, slots=True)
class _Noting:
    """An objective whose losses are noted."""

    step: _Step

    def losses(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the losses."""
        return self.step.contrast(encoded, batch)


def _bytes_of(objective: nn.Module) -> int:
    buffers: Sequence[Tensor] = list(objective.buffers())
    return sum(buffer.numel() * buffer.element_size() for buffer in buffers)
