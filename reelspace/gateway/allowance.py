"""How much each key asks of this process: requests a second, and at a time."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from reelspace.gateway.keys import ApiKey
from reelspace.search.access.refusal import RequestRefused

BURST_S: Final = 1.0
"""What was not used for so long may be used at once."""


class TooMuchAsked(RequestRefused):
    """A key asks more than it may; what it asked is not begun. `reason` is for counting."""

    def __init__(self, message: str, reason: str, retry_after_s: int) -> None:
        super().__init__("api-key", message, 429, retry_after_s)
        self.reason = reason


@dataclass(slots=True)
class _Use:
    tokens: float
    at_s: float
    num_running: int = 0


class Allowance:
    """Counts what keys use, by their names; `clock` gives seconds that only grow. A bucket of tokens for each."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._uses: dict[str, _Use] = {}

    def keep(self, names: set[str]) -> None:
        """Forget keys that are there no more and use nothing."""
        self._uses = {name: use for name, use in self._uses.items() if name in names or use.num_running}

    @contextmanager
    def used(self, key: ApiKey) -> Iterator[None]:
        """Run one request of a key.

        Raises:
            TooMuchAsked: it has used up its requests for now, or as many as it may are running.
        """
        if key.requests_per_s is None and key.concurrent is None:
            yield
            return
        use = self._use(key)
        if key.concurrent is not None and use.num_running >= key.concurrent:
            raise TooMuchAsked(f"{use.num_running} requests of this key are running already", "concurrent", 1)
        if key.requests_per_s is not None:
            if use.tokens < 1:
                wait_s = math.ceil((1 - use.tokens) / key.requests_per_s)
                raise TooMuchAsked(f"more than {key.requests_per_s:g} requests a second of this key", "rate", wait_s)
            use.tokens -= 1
        use.num_running += 1
        try:
            yield
        finally:
            use.num_running -= 1

    def _use(self, key: ApiKey) -> _Use:
        now_s, rate = self._clock(), key.requests_per_s or 0.0
        most = max(1.0, rate * BURST_S)
        use = self._uses.get(key.name)
        if use is None:
            use = self._uses[key.name] = _Use(most, now_s)
        use.tokens = min(most, use.tokens + (now_s - use.at_s) * rate)
        use.at_s = now_s
        return use
