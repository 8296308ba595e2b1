"""Triton against ONNX Runtime alone, the gateway against Triton, and ten times as many requests as can be answered.

A student of a realistic size with random weights is exported as every student is, and served by a real Triton on this machine. Clients are
a process of their own that sends bytes written before. Servers take turns within a round; ratios and differences are taken within it.

`triton`: throughput against bare ONNX Runtime with batches as large as Triton's, and what Triton adds to one client's latency. `gateway`:
processor time per request of the gateway and of an empty pass-through, latency and throughput beside Triton's own, over HTTP and gRPC.
`overload`: goodput, refusals and the time until all is as before. A whole run takes a quarter of an hour on two cores that nobody else
uses; with others on them ratios of latency and throughput say nothing, and those of processor time little.

    OMP_NUM_THREADS=1 python benchmarks/serving.py [--only gateway,overload]

It prints all figures and the bars, and exits with 1 when a bar is missed. Each section goes into benchmarks/results/serving.json as soon as
it is measured. `--quick` is one short round, to try the frame: its ratios say nothing, and nothing is recorded.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.search_peers.bars import Verdict, judge, table_of_bars  # noqa: E402
from benchmarks.search_peers.readings import table  # noqa: E402
from benchmarks.serving_parts.bar_list import bars_of  # noqa: E402
from benchmarks.serving_parts.bed import running  # noqa: E402
from benchmarks.serving_parts.models import student, write_repository  # noqa: E402
from benchmarks.serving_parts.plan import Plan  # noqa: E402
from benchmarks.serving_parts.results import Took, record_section  # noqa: E402
from benchmarks.serving_parts.sections import SECTIONS, Sitting  # noqa: E402

QUICK = Plan(duration_s=0.4, warm_s=0.1, rounds=1, overload_s=0.5)


def measured(sitting: Sitting, section: str, *, is_recorded: bool) -> list[Verdict]:
    """Measure, print and record one section; gives its bars with what they came to."""
    begun_s, load_before, first = time.monotonic(), os.getloadavg()[0], len(sitting.readings)
    SECTIONS[section](sitting)
    readings = sitting.readings[first:]
    models = dict.fromkeys(one.data for one in readings)
    judged = [judge(bar, model, readings) for model in models for bar in bars_of(section, sitting.plan)]
    took = Took(time.monotonic() - begun_s, load_before)
    print(f"{section}: {took.seconds:.0f} s, load {load_before:.1f} before", file=sys.stderr, flush=True)
    print(f"{table(readings)}\n\n{table_of_bars(judged)}\n", flush=True)
    if is_recorded:
        record_section(section, sitting.plan, readings, judged, took)
    return judged


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--only", type=lambda text: tuple(text.split(",")), default=tuple(SECTIONS), help=f"of {','.join(SECTIONS)}")
    asked = parser.parse_args()
    if unknown := set(asked.only) - set(SECTIONS):
        parser.error(f"--only: {', '.join(sorted(unknown))} is not of {', '.join(SECTIONS)}")
    return asked


def main() -> int:
    """Measure; 1 when a bar is missed."""
    asked = arguments()
    # Whoever ends the run ends its servers too: they are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    plan, judged = QUICK if asked.quick else Plan(), []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        repository = write_repository(Path(scratch) / "export", student())
        with running(repository, Path(scratch)) as bed:
            sitting = Sitting(bed, plan)
            for section in asked.only:
                judged += measured(sitting, section, is_recorded=not asked.quick)
    return int(any(verdict.held is False for verdict in judged))


if __name__ == "__main__":
    sys.exit(main())
