"""The time that is left for one request, spent over several calls."""

import asyncio
from typing import Final

_LEAST_S: Final = 0.001


class Deadline:
    """Counts down from now; belongs to the running event loop."""

    def __init__(self, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._end_s = self._loop.time() + timeout_s

    @property
    def left_s(self) -> float:
        """Seconds left, never less than a millisecond, so that what is asked next can say that it is late."""
        return max(self._end_s - self._loop.time(), _LEAST_S)
