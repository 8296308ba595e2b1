"""What a pipeline costs beside the work of its steps, in each place that runs here: seconds per step of starting, following and recording.

The machinery of `train_and_publish` on a small generated world (trainings of a few steps). The first run does the work, which is not timed;
then the same run is repeated, and every step but those that always run is reused. Own work of a step is what its journal says, and loading
its modules, which is timed in processes that do nothing else, in turns with the runs. Of two steps that a place runs at the same time only
the longer one counts, as work and as a step.

`python benchmarks/pipeline.py [--where PLACE]...` prints one JSON object and writes benchmarks/results/pipeline.json; minutes. A place that
is not to be had here is named with the reason. podman and Argo want root and namespaces of their own:
`python -m tests.cluster.isolation python benchmarks/pipeline.py`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import write_result  # noqa: E402
from reelspace.core.step_records import JournalEntry  # noqa: E402
from reelspace.demo.generate import generate  # noqa: E402
from reelspace.demo.presets import CUTOFF, world_preset  # noqa: E402
from reelspace.runs.local import follow_run, run_pipeline  # noqa: E402
from reelspace.steps.presets import journey_preset  # noqa: E402

NUM_WORKS = 60
ROUNDS = 3
# Steps that a place with more than one processor may run side by side.
SIDE_BY_SIDE = ("preprocess_signals", "preprocess_media")

Round = dict[str, float]


class NotHere(Exception):
    """This machine has no such place; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class World:
    """What is run: a generated world, settings of every step, and a folder for files."""

    scratch: Path
    tables: Path
    sections: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """A kind of place: gives the rounds of a world there, and the most seconds per step that they may cost."""

    rounds: Callable[[World], list[Round]]
    most_s: float


def process(world: World) -> list[Round]:
    """Run as processes of this machine."""
    out, console = world.scratch / "out", Console(stderr=True, quiet=True)
    out.mkdir()

    def walk() -> Round:
        start_s = time.perf_counter()
        run = run_pipeline(out, world.sections, tables=world.tables, truth=world.tables, console=console)
        return _round(time.perf_counter() - start_s, run.steps)

    walk()
    return [walk() for _ in range(ROUNDS)]


def podman(world: World) -> list[Round]:
    """Run in containers of podman, with MinIO in their network."""
    import pytest  # of the development environment, as podman's bed is

    from tests.containers.bed import lone_bed

    try:
        with lone_bed(world.scratch) as bed:
            (world.scratch / "settings.json").write_text(json.dumps(world.sections))
            given = ["train_and_publish", "--where=podman", f"--place={bed.place(world.scratch)}", f"--work={world.scratch / 'work'}"]
            given += [f"--tables={world.tables}", f"--truth={world.tables}", f"--settings={world.scratch / 'settings.json'}"]
            given += [f"--store=s3://{bed.store.make_bucket()}/store"]
            os.environ |= bed.store.environment()

            def walk() -> Round:
                start_s = time.perf_counter()
                steps = follow_run(given, world.scratch / "pipeline.log", Console(stderr=True, quiet=True))
                return _round(time.perf_counter() - start_s, steps)

            walk()
            return [walk() for _ in range(ROUNDS)]
    except pytest.skip.Exception as missing:
        raise NotHere(str(missing)) from missing


def argo(world: World) -> list[Round]:
    """Run as pods of workflows, on a real node with Argo's controller and MinIO."""
    import pytest  # of the development environment, as the cluster is

    from tests.cluster.argo_place import lone_argo_place, upload

    try:
        with lone_argo_place(world.scratch) as place:
            given = place.asked(upload(place.store, world.tables), world.sections)

            def walk() -> Round:
                start_s = time.perf_counter()
                ended = place.reelspace("run", "train_and_publish", *given)
                wall_s = time.perf_counter() - start_s
                if ended.returncode:
                    raise RuntimeError(f"the run on Argo failed: {ended.stderr}")
                journal = place.journal(next(iter(place.runs())))
                return _round(wall_s, [journal[step] for step in world.sections], SIDE_BY_SIDE)

            walk()
            return [walk() for _ in range(ROUNDS)]
    except pytest.skip.Exception as missing:
        raise NotHere(str(missing)) from missing


PLACES: Mapping[str, Place] = {"process": Place(process, 1.5), "podman": Place(podman, 3.0), "argo": Place(argo, 10.0)}


def main() -> int:
    """Measure and write; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--where", action="append", choices=PLACES, help="places to measure (default: all)")
    chosen = parser.parse_args().where or list(PLACES)
    values: dict[str, Any] = {"unit": "seconds per step", "bars": {}, "not_here": {}}
    for name in chosen:
        with tempfile.TemporaryDirectory() as scratch:
            world = World(Path(scratch), Path(scratch) / "world", journey_preset("smoke", cutoff=CUTOFF.isoformat()))
            generate(world_preset("demo", num_works=NUM_WORKS), world.tables)
            try:
                rounds = PLACES[name].rounds(world)
            except NotHere as reason:
                print(f"{name}: not runnable here: {reason}", file=sys.stderr)
                values["not_here"][name] = str(reason)
                continue
        values[name] = _summary(rounds)
        median, most_s = values[name]["median"], PLACES[name].most_s
        values["bars"][f"{name}_seconds_per_step"] = {"value": median, "bar": most_s, "passed": median <= most_s}
    if not values["bars"]:
        return 0  # nothing was measured: what was before stays
    write_result("pipeline", values, seed=0, packages=("kfp",))
    return int(not all(bar["passed"] for bar in values["bars"].values()))


def _summary(rounds: list[Round]) -> dict[str, Any]:
    per_step = [one["beyond_s"] / one["steps"] for one in rounds]
    return {
        "median": round(statistics.median(per_step), 3),
        "smallest": round(min(per_step), 3),
        "largest": round(max(per_step), 3),
        "rounds": rounds,
    }


def _round(wall_s: float, steps: Iterable[JournalEntry], side_by_side: Collection[str] = ()) -> Round:
    own_s = {step.step: (step.wall_seconds, _loading_s(step.step)) for step in steps}
    together = sorted((name for name in own_s if name in side_by_side), key=lambda name: sum(own_s[name]))
    for shorter in together[:-1]:
        del own_s[shorter]
    work_s, loading_s = (sum(column) for column in zip(*own_s.values(), strict=True))
    return {
        "steps": len(own_s),
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
