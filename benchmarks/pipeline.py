"""What a pipeline costs beside the work of its steps, on this machine: seconds per step of starting, following and recording.

The machinery of `train_and_publish` on a small generated world (trainings of a few steps). The first run does the work, which is not timed;
then the same run is repeated, and every step but those that always run is reused. Own work of a step is what its journal says, and loading
its modules, which is timed in processes that do nothing else, in turns with the runs.

`python benchmarks/pipeline.py` prints one JSON object and writes benchmarks/results/pipeline.json; minutes.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import write_result  # noqa: E402
from reelspace.demo.generate import generate  # noqa: E402
from reelspace.demo.presets import CUTOFF, world_preset  # noqa: E402
from reelspace.runs.local import PipelineRun, run_pipeline  # noqa: E402
from reelspace.steps.presets import journey_preset  # noqa: E402

NUM_WORKS = 60
ROUNDS = 3
MOST_SECONDS_PER_STEP = 1.5


def main() -> int:
    """Measure and write; 1 when the bar is missed."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    console = Console(stderr=True, quiet=True)
    with tempfile.TemporaryDirectory() as scratch:
        out, world = Path(scratch) / "out", Path(scratch) / "world"
        generate(world_preset("demo", num_works=NUM_WORKS), world)
        out.mkdir()
        sections = journey_preset("smoke", cutoff=CUTOFF.isoformat())

        def walk() -> tuple[float, PipelineRun]:
            start_s = time.perf_counter()
            run = run_pipeline(out, sections, tables=world, truth=world, console=console)
            return time.perf_counter() - start_s, run

        _, first = walk()
        rounds = [_round(*walk()) for _ in range(ROUNDS)]
    per_step = [one["beyond_s"] / len(first.steps) for one in rounds]
    value = statistics.median(per_step)
    bar = {"value": round(value, 3), "bar": MOST_SECONDS_PER_STEP, "passed": value <= MOST_SECONDS_PER_STEP}
    values = {
        "unit": "seconds per step",
        "steps": len(first.steps),
        "process": {"median": round(value, 3), "smallest": round(min(per_step), 3), "largest": round(max(per_step), 3), "rounds": rounds},
        "bars": {"process_seconds_per_step": bar},
    }
    write_result("pipeline", values, seed=0, packages=("kfp",))
    return int(not bar["passed"])


def _round(wall_s: float, run: PipelineRun) -> dict[str, float]:
    work_s = sum(step.wall_seconds for step in run.steps)
    loading_s = sum(_loading_s(step.step) for step in run.steps)
    return {
        "wall_s": round(wall_s, 2),
        "work_s": round(work_s, 2),
        "loading_s": round(loading_s, 2),
        "beyond_s": round(wall_s - work_s - loading_s, 2),
    }


def _loading_s(step: str) -> float:
    """Time the import of a step's module in a process of its own, which tells it itself: starting Python is the pipeline's cost."""
    program = f"import time; start = time.perf_counter(); import reelspace.steps.{step}; print(time.perf_counter() - start)"
    return float(subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    sys.exit(main())
