"""Trains a planned model for real and prints what memory that took: `python plan_child.py SIZES SETTINGS CORPUS`, each in JSON."""

import ctypes
import gc
import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from reelspace.model.presets import preset
from reelspace.model.settings import ModelSettings
from reelspace.train.engine import Engine
from reelspace.train.group import Group
from reelspace.train.objective_base import Objective
from reelspace.train.plan.example import example_batch, example_objective
from reelspace.train.plan.settings import CorpusSettings
from reelspace.train.settings import TrainSettings
from reelspace.train.torch_engine import TorchEngine

NUM_STEPS = 3


def main() -> None:
    """Take some steps; growth is that of the peak of resident memory over what the imports took."""
    sizes, settings = ModelSettings.model_validate_json(sys.argv[1]), TrainSettings.model_validate_json(sys.argv[2])
    corpus = CorpusSettings.model_validate_json(sys.argv[3])
    torch.set_num_threads(1)
    # Libraries load more of themselves in the first step: this is the growth over all that is loaded.
    take_steps(preset("tiny"), settings.model_copy(update={"batch_size": 2 * settings.micro_batches}), corpus)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    take_steps(sizes, settings, corpus)
    sys.stdout.write(json.dumps({"before": before, "growth": resident("VmHWM") - before}))


def take_steps(sizes: ModelSettings, settings: TrainSettings, corpus: CorpusSettings) -> None:
    """Train a little."""
    objective = example_objective(sizes, settings, corpus)
    engine: Engine = TorchEngine(objective, settings, Group()) if settings.engine == "torch" else spread(objective, settings)
    for step in range(NUM_STEPS):
        engine.step(example_batch(sizes, settings, corpus, settings.batch_size, step), 1e-4)


def spread(objective: Objective, settings: TrainSettings) -> Engine:
    """Give DeepSpeed's engine in a group of one."""
    from reelspace.train.deepspeed_engine import DeepSpeedEngine  # optional: the plain engine needs none

    if not dist.is_initialized():
        os.environ["LOCAL_RANK"] = "0"
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    return DeepSpeedEngine(objective, settings, Group())


def resident(key: str) -> int:
    """Read a line of this process's memory, bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key + ":"))
    return int(line.split()[1]) << 10


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
