"""Whether a request that failed is sent again, and after how long: the same for the client in a thread and the one in an event loop."""

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from reelspace.core.errors import SettingError
from reelspace.serving.client_errors import CallFailed


@dataclass(frozen=True, slots=True)
class Timing:
    """The clock, the ways to wait (seconds), and the numbers from 0 to 1 that are drawn."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    draw: Callable[[], float] = random.random


REAL_TIME: Final = Timing()


@dataclass(frozen=True, slots=True)
class Retries:
    """How often requests are sent again.

    Before try n a time between 0 and `first_wait_s` * 2**(n - 2) is waited, `longest_wait_s` at most, behind what the server asks for.
    All requests of a client together are repeated `burst` times, and once more for every 1 / `share` that are answered: a server
    that fails gets little more than it would without repeating. `max_tries=1` never repeats.
    Source: full jitter as in M. Brooker, "Exponential Backoff And Jitter" (AWS, 2015); the budget as in gRPC's proposal A6, throttling.
    """

    max_tries: int = 4
    first_wait_s: float = 0.05
    longest_wait_s: float = 2.0
    share: float = 0.1
    burst: int = 10
    timing: Timing = REAL_TIME

    def __post_init__(self) -> None:
        for name in ("first_wait_s", "longest_wait_s", "share", "burst"):
            if getattr(self, name) < 0:
                raise SettingError(f"retries.{name}: expected 0 or more, got {getattr(self, name)}")
        if self.max_tries < 1:
            raise SettingError(f"retries.max_tries: expected 1 or more, got {self.max_tries}")


DEFAULT_RETRIES: Final = Retries()


class RetryBudget:
    """What is left to repeat with; shared by all requests of a client, from any thread."""

    def __init__(self, retries: Retries) -> None:
        self._share = retries.share
        self._most = float(retries.burst)
        self._left = self._most
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Take one repetition; False where none is left."""
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True

    def earn(self) -> None:
        """Hear of a request that was answered."""
        with self._lock:
            self._left = min(self._most, self._left + self._share)


class Tries:
    """The tries of one request, until its deadline."""

    def __init__(self, retries: Retries, budget: RetryBudget, end_s: float) -> None:
        """Begin.

        Args:
            end_s: the deadline, on the clock of `retries.timing`.
        """
        self._retries = retries
        self._budget = budget
        self._end_s = end_s
        self._num_tries = 0

    def begin(self) -> float:
        """Begin a try, and give the seconds that are left for it; CallFailed where none are."""
        self._num_tries += 1
        left_s = self._left_s()
        if left_s <= 0:
            raise CallFailed("the time for the call is over; allow more, or ask for less at a time")
        return left_s

    def answered(self) -> None:
        """End with a good answer."""
        self._budget.earn()

    def wait_s(self, error: CallFailed) -> float:
        """Give the seconds to wait before the next try.

        Raises:
            CallFailed: the error itself, where there will be no other try: it would not help, would be too late, or is one too many.
        """
        error.num_tries = self._num_tries
        if not error.may_repeat or self._num_tries >= self._retries.max_tries:
            raise error
        longest_s = min(self._retries.longest_wait_s, self._retries.first_wait_s * 2.0 ** (self._num_tries - 1))
        wait_s = (error.retry_after_s or 0.0) + self._retries.timing.draw() * longest_s
        if wait_s >= self._left_s() or not self._budget.spend():
            raise error
        return wait_s

    def _left_s(self) -> float:
        return self._end_s - self._retries.timing.now()
