"""Works per second of the whole training loop with DeepSpeed against a bare loop of torch over the same model.

`python benchmarks/training_overhead.py`: the `tiny` model at the sizes of the demo, one thread. The whole loop makes its batches, beats,
logs and averages as in every training (ZeRO-1, prefetch as set by default); the bare loops step over batches made before: of torch, and
of DeepSpeed. They take turns, a block of steps each, in one process.
"""

import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

os.environ |= {"DS_ACCELERATOR": "cpu", "LOCAL_RANK": "0"}

import deepspeed

from benchmarks.data_loading import SETTINGS, SIZES, train_data, write_works
from benchmarks.record import write_result
from reelspace.model.model import ReelModel
from reelspace.model.tokenizer import Tokenizer
from reelspace.train.batches import Batch, Batches
from reelspace.train.checkpoints import Checkpoints
from reelspace.train.data import TrainData
from reelspace.train.deepspeed_config import deepspeed_config
from reelspace.train.deepspeed_engine import DeepSpeedEngine
from reelspace.train.engine import adamw
from reelspace.train.group import Group
from reelspace.train.label_head import make_label_head
from reelspace.train.loop import Loop, LoopPlace
from reelspace.train.objective import PretrainObjective
from reelspace.train.prefetch import Prefetch
from reelspace.train.settings import TrainSettings
from reelspace.train.train_log import LOG_FILE, TrainLog
from reelspace.train.word_masks import make_masks

NUM_PAIRS, STEPS_PER_BLOCK = 15, 10
BAR = 0.85
Step = Callable[[Batch], None]


@dataclass
class Turns:
    """The batches of the whole loop, between which the bare loops have their turns."""

    batches: Prefetch
    bare: dict[str, Step]
    ready: list[Batch]
    seconds: dict[str, list[float]] = field(default_factory=dict)
    _since_s: float = 0.0

    def __call__(self, step: int) -> Batch:
        """Give the batch of a step; at the first of a block, first time the others."""
        if step % STEPS_PER_BLOCK == 0:
            if step > STEPS_PER_BLOCK:
                # The first block warms up.
                self.seconds.setdefault("loop", []).append(time.monotonic() - self._since_s)
            if step:
                for name, run in self.bare.items():
                    self.seconds.setdefault(name, []).append(_timed(run, self.ready))
            self._since_s = time.monotonic()
        return self.batches(step)


def _timed(run: Step, batches: list[Batch]) -> float:
    begun_s = time.monotonic()
    for batch in batches:
        run(batch)
    return time.monotonic() - begun_s


def bare_torch(objective: PretrainObjective, settings: TrainSettings) -> Step:
    """Give the step of a loop as one writes it by hand."""
    objective.train()
    optimizer = adamw(objective, settings.optimizer)

    def step(batch: Batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss, _ = objective(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(objective.parameters(), settings.optimizer.clip_norm)
        optimizer.step()

    return step


def bare_deepspeed(objective: PretrainObjective, settings: TrainSettings) -> Step:
    """Give the step of DeepSpeed's own three lines."""
    engine, *_ = deepspeed.initialize(
        model=objective.train(), optimizer=adamw(objective, settings.optimizer), config=deepspeed_config(settings, 1)
    )

    def step(batch: Batch) -> None:
        loss, _ = engine(batch)
        engine.backward(loss)
        engine.step()

    return step


def measure(data: TrainData, settings: TrainSettings, run: Path) -> dict[str, list[float]]:
    """Train with all loops; gives the seconds of every block."""
    tokenizer = Tokenizer.train(data.corpus, settings.vocabulary_size, SIZES.text_length)
    batches = Batches(data, tokenizer, settings, masks=make_masks(data, tokenizer, settings))
    torch.manual_seed(0)
    head = make_label_head(data, tokenizer, settings, SIZES.dimension)
    objective = PretrainObjective(ReelModel(SIZES.model_copy(update={"vocabulary_size": tokenizer.size})), head, settings.objective)
    engine = DeepSpeedEngine(deepcopy(objective), settings, Group())
    bare = {"torch": bare_torch(deepcopy(objective), settings), "deepspeed": bare_deepspeed(deepcopy(objective), settings)}
    for step in bare.values():
        step(batches(0))
    place = LoopPlace(run, 0, TrainLog(run / LOG_FILE, is_writer=True), Checkpoints(run / "checkpoints", run / "unfinished", Group()))
    with Prefetch(batches, settings.steps, settings.reading.prefetch) as ahead:
        turns = Turns(ahead, bare, [batches(step) for step in range(STEPS_PER_BLOCK)])
        Loop(engine, turns, settings, Group(), place).fit()
    return turns.seconds


def main() -> int:
    """Measure, print and record; 1 when the bar is missed."""
    warnings.simplefilter("ignore", FutureWarning)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        dist.init_process_group("gloo", init_method=f"file://{root / 'meeting'}", rank=0, world_size=1)
        # One block to warm up, and one step more, in which the last block is counted.
        steps = (NUM_PAIRS + 1) * STEPS_PER_BLOCK + 1
        settings = SETTINGS.model_copy(update={"steps": steps, "checkpoint_every": steps})
        seconds = measure(train_data(write_works(root), settings.reading), settings, root)
        dist.destroy_process_group()
    pairs = [bare / ours for bare, ours in zip(seconds["torch"], seconds["loop"], strict=False)]
    deepspeeds = [bare / other for bare, other in zip(seconds["torch"], seconds["deepspeed"], strict=True)]
    per_s = {loop: round(settings.batch_size * STEPS_PER_BLOCK / statistics.median(values), 1) for loop, values in seconds.items()}
    ratio = statistics.median(pairs)
    values = {
        "unit": "works per second of the loop over those of bare torch, median of pairs",
        "ratio": round(ratio, 3),
        "spread": [round(min(pairs), 3), round(max(pairs), 3)],
        "ratio_of_bare_deepspeed": round(statistics.median(deepspeeds), 3),
        "bar": BAR,
        "num_pairs": len(pairs),
        "steps_per_block": STEPS_PER_BLOCK,
        "works_per_s": per_s,
    }
    write_result("training_overhead", values, seed=0, packages=("torch", "deepspeed"))
    return int(ratio < BAR)


if __name__ == "__main__":
    sys.exit(main())
