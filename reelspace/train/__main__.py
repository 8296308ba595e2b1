"""`python -m reelspace.train --config FILE --run DIR`: one training; exit codes 0, 2, 75, 70.

`--job-from-store KEY --scratch DIR` in their place: one machine's part in the training that the store describes under a step key.
"""

import argparse
import os
import sys
from pathlib import Path

from reelspace.core.errors import UserError
from reelspace.core.program import run_main
from reelspace.train.cluster.machine import Machine, train_from_store
from reelspace.train.launcher import launch
from reelspace.train.meeting import MEETING_S, Meeting


def main() -> None:
    """Launch and raise what the training ended with."""
    parser = argparse.ArgumentParser(prog="python -m reelspace.train", description=__doc__)
    parser.add_argument("--config", type=Path, help="JSON file of a TrainJob")
    parser.add_argument("--run", type=Path, help="directory of checkpoints and logs, kept for the next try")
    parser.add_argument("--job-from-store", metavar="KEY", help="step key whose training REELSPACE_STORE describes")
    parser.add_argument("--scratch", type=Path, help="directory of this machine alone, emptied at the start; with --job-from-store")
    parser.add_argument("--parent", type=int, help="pid of the starting process: when it has ended, end at once, without saving")
    parser.add_argument(
        "--silent-s", type=float, help="seconds without a sign of life after which the training is ended; default: its settings'"
    )
    parser.add_argument("--meeting-s", type=float, default=MEETING_S, help="seconds that several machines have to find each other")
    arguments = parser.parse_args()
    given = {name for name in ("config", "run", "job_from_store", "scratch") if getattr(arguments, name) is not None}
    if given == {"job_from_store", "scratch"}:
        machine = Machine(Meeting.read(os.environ).rank, arguments.scratch, arguments.silent_s, arguments.meeting_s)
        train_from_store(arguments.job_from_store, machine)
    elif given == {"config", "run"}:
        launch(arguments.config, arguments.run, parent=arguments.parent, silent_s=arguments.silent_s, meeting_s=arguments.meeting_s)
    else:
        raise UserError("expected --config and --run, or --job-from-store and --scratch")


if __name__ == "__main__":
    sys.exit(run_main(main))
