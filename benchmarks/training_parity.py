"""Losses of every engine, ZeRO stage and way to save memory against the plain loop of torch on one process; docs/reference/parity.md.

`python benchmarks/training_parity.py` runs every row of tests/unit/train/parity.py, of which the tests run a sample.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.record import write_result
from tests.unit.train.engines import run_processes
from tests.unit.train.parity import BAR, CASES, GRADIENT_BAR, measure


def main() -> int:
    """Measure, print and record; 1 when a bar is missed."""
    with tempfile.TemporaryDirectory() as place:
        found = measure(CASES, Path(place))
        [gradient] = run_processes(4, [{"gradient": True}], Path(place) / "gradient")
    rows: dict[str, dict[str, float]] = {}
    for (name, num), difference in found.items():
        rows.setdefault(name, {})[str(num)] = difference
    values = {
        "unit": "largest relative difference of the loss over 10 steps, float32",
        "bar": BAR,
        "rows": rows,
        "gradient_on_4_processes": gradient["difference"],
        "gradient_bar": GRADIENT_BAR,
    }
    write_result("training_parity", values, seed=0, packages=("torch", "deepspeed"))
    return int(max(found.values()) > BAR or gradient["difference"] > GRADIENT_BAR)


if __name__ == "__main__":
    sys.exit(main())
