"""How often, and when, requests are sent again: many clients that retry as they like keep a slow server down."""

import random
from typing import Final

SHARE: Final = 0.1
RESERVE: Final = 10.0


class RetryBudget:
    """Allows RESERVE retries at once and, over time, SHARE of the requests; not for several threads.

    Source: the retry budget of Finagle and of gRPC's retry throttling (gRFC A6).
    """

    def __init__(self) -> None:
        self._left = RESERVE

    def earn(self) -> None:
        """Count a new request."""
        self._left = min(self._left + SHARE, RESERVE)

    def spend(self) -> bool:
        """Take one retry; False where none is left."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


def jittered(pause_s: float) -> float:
    """Give a pause from half of it to half as much again, so that clients that failed together do not come together again."""
    return pause_s * random.uniform(0.5, 1.5)
