"""torchrun without its noise: the workers say themselves what failed, in one line."""

import logging
import os
import sys
from collections.abc import Sequence

from torch.distributed import DistError
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from reelspace.core.log import log

AGENT_VARIABLE = "REELSPACE_TRAIN_AGENT_PID"


def main(arguments: Sequence[str]) -> int:
    """Run torchrun with its own arguments; 1 when a worker failed or a signal came."""
    logging.disable()
    # A worker loads for seconds before it can watch its parent, which may be gone by then.
    os.environ[AGENT_VARIABLE] = str(os.getpid())
    try:
        run(parse_args(list(arguments)))  # type: ignore[no-untyped-call]
    except (ChildFailedError, SignalException):
        return 1
    except DistError as error:
        log("machines_apart", reason=" ".join(str(error).split())[:300])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
