"""What the tests of engines share: the small world, its objective, and a bare series of steps."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from reelspace.model.tokenizer import Tokenizer
from reelspace.train.batches import Batch, make_batch
from reelspace.train.data import TrainData
from reelspace.train.engine import Engine
from reelspace.train.group import Group
from reelspace.train.objective import PretrainObjective
from reelspace.train.schedule import learning_rate
from reelspace.train.settings import AugmentSettings, TrainSettings
from reelspace.train.torch_engine import TorchEngine
from reelspace.train.word_masks import KeywordMasks, make_masks
from tests.unit.train import builders
from tests.unit.train.builders import make_data, make_tokenizer

NUM_STEPS = 10
LIMIT_S = 120.0
# The picture is never hidden: a work with nothing shown has no vector to compare.
SETTINGS = TrainSettings(batch_size=8, steps=NUM_STEPS, augment=AugmentSettings(drop_picture=0.0))


@cache
def world() -> tuple[TrainData, Tokenizer]:
    """The small world and its tokenizer."""
    data = make_data()
    return data, make_tokenizer(data)


def make_objective() -> PretrainObjective:
    """An objective with the same weights every time."""
    return builders.make_objective(SETTINGS)


def make_engine(settings: TrainSettings, group: Group) -> Engine:
    """An engine over the same weights every time; one of DeepSpeed needs the default process group."""
    if settings.engine == "torch":
        return TorchEngine(make_objective(), settings, group)
    from reelspace.train.deepspeed_engine import DeepSpeedEngine  # loads for seconds

    return DeepSpeedEngine(make_objective(), settings, group)


@cache
def masks() -> KeywordMasks | None:
    """What is hidden of the small world's texts."""
    return make_masks(*world(), SETTINGS)


def batch_of(step: int, group: Group) -> Batch:
    """A process's part of a step's batch."""
    return make_batch(*world(), SETTINGS, step, group.rank, group.world_size, masks())


def losses_of(engine: Engine, group: Group, last: int, first: int = 0) -> list[float]:
    """Take the steps first to last - 1 of a training of NUM_STEPS."""
    rates = {step: learning_rate(step, NUM_STEPS, SETTINGS.optimizer) for step in range(first, last)}
    return [engine.step(batch_of(step, group), rate).figures["loss"] for step, rate in rates.items()]


def trained_weights(engine: Engine) -> dict[str, torch.Tensor]:
    """What the optimizer moves: without the labels' texts as the text tower read them last."""
    return {name: weight.clone() for name, weight in engine.weights().items() if name != "label_head.inputs_KD"}


def relative_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest difference of two series, relative to the second."""
    return max(abs(one - other) / abs(other) for one, other in zip(ours, theirs, strict=True))


def run_processes(num: int, tasks: Sequence[Mapping[str, Any]], place: Path) -> list[Any]:
    """Let a group of processes do tasks one after the other, as tests/unit/train/engine_process.py describes; gives their answers."""
    place.mkdir(parents=True, exist_ok=True)
    meeting = place / "meeting"
    meeting.unlink(missing_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "DS_ACCELERATOR": "cpu"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.unit.train.engine_process", str(rank), str(num), str(meeting), json.dumps(list(tasks))],
            env={**environment, "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(num)
    ]
    told = [process.communicate(timeout=LIMIT_S * len(tasks)) for process in processes]
    assert [process.returncode for process in processes] == [0] * num, told[0][1][-2_000:]
    return [json.loads(line) for line in told[0][0].splitlines() if line.startswith("{")]
