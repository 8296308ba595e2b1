"""A promoter that dies where a test wants it to: `python -m tests.triton.promoter_program STORE TRITON_GRPC VERSION STAGE`.

SIGKILL comes when the work that leads to the stage is done and nothing of it is written.
"""

import os
import signal
import sys

from reelspace.core.store import open_store
from reelspace.search.scheduling.promoted_encoders import PromotedEncoders
from reelspace.serving.rollout.model_control import GrpcControl
from reelspace.serving.rollout.promote import Order, promote
from reelspace.serving.rollout.promoter import World
from reelspace.serving.rollout.state import Rollout

from .rolling import MODEL, PACE, QUICK


def main(store_url: str, triton_grpc: str, version: str, stage: str) -> None:
    def die(rollout: Rollout, _why: str) -> None:
        if rollout.stage == stage:
            os.kill(os.getpid(), signal.SIGKILL)

    store = open_store(store_url)
    with GrpcControl(triton_grpc) as control:
        promote(World(store, [control], PromotedEncoders(store)), Order(MODEL, int(version), 0.1, QUICK), PACE, die)


if __name__ == "__main__":
    main(*sys.argv[1:])
