"""A promoter that dies where a test wants it to: `python -m tests.triton.promoter_program STORE TRITON_GRPC VERSION STAGE`.

SIGKILL comes when the work that leads to the stage is done and nothing of it is written; for `loading`, when Triton has loaded.
"""

import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from reelspace.core.store import open_store
from reelspace.search.scheduling.promoted_encoders import PromotedEncoders
from reelspace.serving.rollout.model_control import GrpcControl
from reelspace.serving.rollout.promote import Order, promote
from reelspace.serving.rollout.promoter import World
from reelspace.serving.rollout.state import Rollout

from .rolling import MODEL, PACE, QUICK


class LoadsAndDies(GrpcControl):
    """Dies when the versions are loaded: how long that takes is told to nobody where it is short."""

    def load(self, model: str, config: Mapping[str, Any]) -> None:
        super().load(model, config)
        die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(store_url: str, triton_grpc: str, version: str, stage: str) -> None:
    def tell(rollout: Rollout, _why: str) -> None:
        if rollout.stage == stage:
            die()

    store = open_store(store_url)
    with (LoadsAndDies if stage == "loading" else GrpcControl)(triton_grpc) as control:
        promote(World(store, [control], PromotedEncoders(store)), Order(MODEL, int(version), 0.1, QUICK), PACE, tell)


if __name__ == "__main__":
    main(*sys.argv[1:])
