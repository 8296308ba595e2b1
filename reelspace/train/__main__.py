"""`python -m reelspace.train --config FILE --run DIR`: one training; exit codes 0, 2, 75, 70."""

import argparse
import sys
from pathlib import Path

from reelspace.core.errors import InternalError, ReelspaceError, TemporaryError, UserError
from reelspace.core.steps import run_main
from reelspace.train.launcher import launch

_ERRORS: dict[int, type[ReelspaceError]] = {2: UserError, 75: TemporaryError}


def main() -> None:
    """Launch and raise what the training ended with."""
    parser = argparse.ArgumentParser(prog="python -m reelspace.train", description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="JSON file of a TrainJob")
    parser.add_argument("--run", required=True, type=Path, help="directory of checkpoints and logs, kept for the next try")
    arguments = parser.parse_args()
    ending = launch(arguments.config, arguments.run)
    if ending.exit_code:
        raise _ERRORS.get(ending.exit_code, InternalError)(ending.message)


if __name__ == "__main__":
    sys.exit(run_main(main))
