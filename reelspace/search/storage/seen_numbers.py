"""For how long this process has known numbers of logs to be there, by its monotonic clock.

Who drops objects of a log asks this, and no wall clock: those of writers and builders may be set, wrong, or apart. A process that has
just started has seen nothing for long, and drops nothing; one that was killed only delays what is dropped.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from reelspace.search.storage.log import RETRY_WINDOW_S, Log

_NUM_STEPS: Final = 32
"""A number may count as seen later than it was by this part of the window, so that little is remembered however often one looks."""


@dataclass(frozen=True, slots=True)
class _Seen:
    number: int
    at_s: float


class SeenNumbers:
    """Remembers when numbers were seen first. Calls may come from any thread."""

    def __init__(self, window_s: float = RETRY_WINDOW_S, now_s: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing.

        Args:
            window_s: seconds from then until a number is old.
            now_s: a clock that nobody sets.
        """
        self._window_s, self._now_s = window_s, now_s
        self._lock = threading.Lock()
        self._logs: dict[tuple[str, int], deque[_Seen]] = {}

    def see(self, log: Log, number: int) -> None:
        """Note that a log has, or had, every number up to this one."""
        with self._lock:
            seen = self._logs.setdefault((log.collection, log.shard), deque())
            if seen and number < seen[-1].number:
                seen.clear()  # another log may have come in its place
            if seen and number == seen[-1].number:
                return
            if len(seen) > 1 and seen[-1].at_s - seen[-2].at_s < self._window_s / _NUM_STEPS:
                seen.pop()
            seen.append(_Seen(number, self._now_s()))

    def release(self, log: Log, number: int) -> None:
        """Take every number up to this one for old: nobody sends the requests again that wrote them."""
        with self._lock:
            seen = self._logs.setdefault((log.collection, log.shard), deque())
            while seen and seen[0].number <= number:
                seen.popleft()
            seen.appendleft(_Seen(number, float("-inf")))

    def old(self, log: Log) -> int:
        """Give the highest number that was seen a window ago, 0 if there is none."""
        with self._lock:
            seen = self._logs.get((log.collection, log.shard), deque())
            before_s = self._now_s() - self._window_s
            while len(seen) > 1 and seen[1].at_s <= before_s:
                seen.popleft()
            return seen[0].number if seen and seen[0].at_s <= before_s else 0

    def keep(self, full_names: Collection[str]) -> None:
        """Forget the logs of all other collections."""
        with self._lock:
            self._logs = {key: seen for key, seen in self._logs.items() if key[0] in full_names}
