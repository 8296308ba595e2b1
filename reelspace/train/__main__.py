"""`python -m reelspace.train --config FILE --run DIR`: one training; exit codes 0, 2, 75, 70."""

import argparse
import sys
from pathlib import Path

from reelspace.core.program import run_main
from reelspace.train.launcher import launch
from reelspace.train.meeting import MEETING_S


def main() -> None:
    """Launch and raise what the training ended with."""
    parser = argparse.ArgumentParser(prog="python -m reelspace.train", description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="JSON file of a TrainJob")
    parser.add_argument("--run", required=True, type=Path, help="directory of checkpoints and logs, kept for the next try")
    parser.add_argument("--parent", type=int, help="pid of the starting process: when it has ended, end at once, without saving")
    parser.add_argument(
        "--silent-s", type=float, help="seconds without a sign of life after which the training is ended; default: its settings'"
    )
    parser.add_argument("--meeting-s", type=float, default=MEETING_S, help="seconds that several machines have to find each other")
    arguments = parser.parse_args()
    launch(arguments.config, arguments.run, parent=arguments.parent, silent_s=arguments.silent_s, meeting_s=arguments.meeting_s)


if __name__ == "__main__":
    sys.exit(run_main(main))
