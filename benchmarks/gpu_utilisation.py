"""Model-FLOPs utilisation of `base` in bfloat16 on one GPU, and the throughput that `reelspace plan train --throughput` asks for.

`python benchmarks/gpu_utilisation.py --peak-tflops 989` prints one JSON object and writes benchmarks/results/gpu_utilisation.json; without
a GPU it says so and measures nothing.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import write_result
from reelspace.model.presets import preset
from reelspace.train.group import Group
from reelspace.train.plan.example import example_batch, example_objective
from reelspace.train.plan.settings import CorpusSettings
from reelspace.train.plan.trace import Trace, trace
from reelspace.train.settings import AugmentSettings, TrainSettings
from reelspace.train.torch_engine import TorchEngine

MODEL = "base"
BAR = 0.45
NUM_WARM_STEPS = 5
NUM_STEPS = 20


def step_times_s(settings: TrainSettings, corpus: CorpusSettings) -> list[float]:
    """Train steps of one batch that lies in the GPU's memory, and time each to its end."""
    sizes, device = preset(MODEL), torch.device("cuda")
    engine = TorchEngine(example_objective(sizes, settings, corpus), settings, Group(device=device))
    batch = example_batch(sizes, settings, corpus, settings.batch_size).to(device)
    times = []
    for number in range(NUM_WARM_STEPS + NUM_STEPS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        engine.step(batch, 1e-4)
        torch.cuda.synchronize()
        if number >= NUM_WARM_STEPS:
            times.append(time.perf_counter() - start)
    return times


def figures(times_s: list[float], traced: Trace, peak_tflops: float) -> dict[str, Any]:
    """Give utilisation by the median step: the model's FLOPs over what the GPU could do in that time."""
    median_s = statistics.median(times_s)
    return {
        "unit": "model FLOPs / peak FLOPs",
        "model": MODEL,
        "gpu": torch.cuda.get_device_name(),
        "peak_tflops": peak_tflops,
        "model_flops_utilisation": round(traced.model_flops / median_s / peak_tflops / 1e12, 4),
        "throughput_tflops": round(traced.flops / median_s / 1e12, 1),
        "step_s": round(median_s, 4),
        "spread_s": [round(min(times_s), 4), round(max(times_s), 4)],
        "bar": BAR,
    }


def main() -> int:
    """Measure, and fail when utilisation is below its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--peak-tflops", type=float, default=312.0, help="dense bfloat16 peak: 312 for an A100, 989 for an H100")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU: nothing is measured", file=sys.stderr)
        return 0
    torch.manual_seed(arguments.seed)
    settings = TrainSettings(
        model=MODEL,
        engine="torch",
        precision="bf16_autocast",
        batch_size=arguments.batch_size,
        vocabulary_size=preset(MODEL).vocabulary_size,
        label_negatives=256,
        augment=AugmentSettings(num_view_frames=4),
    )
    corpus = CorpusSettings()
    traced = trace(preset(MODEL), settings, corpus, 1)
    found = figures(step_times_s(settings, corpus), traced, arguments.peak_tflops)
    write_result("gpu_utilisation", found | {"batch_size": settings.batch_size}, seed=arguments.seed, packages=("torch",))
    return 0 if found["model_flops_utilisation"] >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
