"""Three optimizer steps of a model of a billion parameters on this machine's CPU: `make bench-1b`.

The `1b` preset's width, depth and vocabulary with small inputs, through the DeepSpeed engine, in float32: processors without instructions
for bfloat16 multiply it by a slow routine. Stage 0 keeps one copy of the weights; activations are computed anew. All steps see the
same works, so the loss must fall.
"""

import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
import torch.distributed as dist

from benchmarks.record import write_result
from reelspace.model.model import num_parameters
from reelspace.model.presets import preset
from reelspace.model.settings import SoundSettings
from reelspace.train.group import Group
from reelspace.train.plan.example import example_batch, example_objective
from reelspace.train.plan.settings import CorpusSettings
from reelspace.train.settings import OptimizerSettings, TrainSettings

BAR_GIB = 22.0
NUM_STEPS = 3
SMALL = {"frame_size": 64, "num_frames": 1, "text_length": 16, "sound": SoundSettings(num_samples=16_000, num_mels=64)}
SETTINGS = TrainSettings(
    model="1b",
    batch_size=2,
    zero_stage=0,
    checkpoint_activations=True,
    optimizer=OptimizerSettings(learning_rate=2e-5),
)


def main() -> int:
    """Train, print and record; 1 when the bar is missed."""
    os.environ |= {"DS_ACCELERATOR": "cpu", "LOCAL_RANK": "0"}
    warnings.simplefilter("ignore", FutureWarning)
    from reelspace.train.deepspeed_engine import DeepSpeedEngine  # reads the environment when it is imported

    sizes = preset("1b").model_copy(update=SMALL)
    corpus = CorpusSettings(num_labels=8)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as place:
        dist.init_process_group("gloo", init_method=f"file://{place}/meeting", rank=0, world_size=1)
        begun_s = time.monotonic()
        objective = example_objective(sizes, SETTINGS, corpus)
        parameters = num_parameters(objective.model)
        engine = DeepSpeedEngine(objective, SETTINGS, Group())
        ready_s = time.monotonic() - begun_s
        batch = example_batch(sizes, SETTINGS, corpus, SETTINGS.batch_size)
        losses, seconds = [], []
        for _ in range(NUM_STEPS):
            begun_s = time.monotonic()
            result = engine.step(batch, SETTINGS.optimizer.learning_rate)
            assert not result.is_skipped, "a step without a finite loss"
            losses.append(round(result.figures["loss"], 4))
            seconds.append(round(time.monotonic() - begun_s, 1))
        dist.destroy_process_group()
    values = {
        "unit": "GiB of resident memory at its peak",
        "peak_gib": round(_peak_gib(), 2),
        "bar_gib": BAR_GIB,
        "parameters": parameters,
        "losses": losses,
        "seconds_to_start": round(ready_s, 1),
        "seconds_of_steps": seconds,
        "settings": {"zero_stage": SETTINGS.zero_stage, "precision": SETTINGS.precision, "batch_size": SETTINGS.batch_size},
        "inputs": {"frame_size": sizes.frame_size, "num_frames": sizes.num_frames, "text_length": sizes.text_length, "sound_s": 1.0},
    }
    write_result("one_billion", values, seed=0, packages=("torch", "deepspeed"))
    return int(values["peak_gib"] > BAR_GIB or losses[-1] >= losses[0])


def _peak_gib() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


if __name__ == "__main__":
    sys.exit(main())
