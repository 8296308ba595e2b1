"""A thread that compares what is loaded with what was verified, as slowly as its period allows."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from reelspace.search.compute.scrub import Scrub

PERIOD_S: Final = 3600.0
BYTES_PER_S: Final = 32e6
CORE_SHARE: Final = 0.02


@dataclass(frozen=True, slots=True)
class Pace:
    """How often everything is compared, and how gently.

    Attributes:
        period_s: seconds from one beginning to the next; more where the limits below let it take longer.
        bytes_per_s: bytes compared a second at most, so that neither memory nor disk is kept from searches.
        core_share: of one core, at most.
    """

    period_s: float = PERIOD_S
    bytes_per_s: float = BYTES_PER_S
    core_share: float = CORE_SHARE


class Scrubbing:
    """Looks at every shard that is loaded once in a period, and tells once of each that is damaged, which it leaves alone then.

    Attributes:
        num_scrubbed: how many times a shard was found whole.
        last_s: seconds that the last of these looks took, None before one.
    """

    def __init__(
        self,
        turn: AbstractContextManager[object],
        loaded: Callable[[], Sequence[Scrub]],
        tell: Callable[[Scrub, str], None],
        pace: Pace | None = None,
    ) -> None:
        """Start the thread.

        Args:
            turn: held while a shard is used; see Scrub.look.
            loaded: gives those of the shards that answer now.
            tell: hears in this thread which one is damaged, and the name of the part; must not raise.
        """
        self._turn, self._loaded, self._tell, self._pace = turn, loaded, tell, pace or Pace()
        self._damaged: tuple[tuple[Scrub, str], ...] = ()
        self.num_scrubbed = 0
        self.last_s: float | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scrub", daemon=True)
        self._thread.start()

    @property
    def damage(self) -> str | None:
        """Name a part that is damaged of a shard that answers now, None if none is known."""
        loaded = self._loaded()
        return next((part for scrub, part in self._damaged if scrub in loaded), None)

    def is_damaged(self, scrub: Scrub) -> bool:
        """Tell whether a shard was found damaged."""
        return any(one is scrub for one, _ in self._damaged)

    def close(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        # Processes that start together do not all begin at the same moment.
        pause_s = random.uniform(0.0, self._pace.period_s)
        while not self._ended.wait(pause_s):
            begun_s = time.monotonic()
            loaded = self._loaded()
            self._damaged = tuple(one for one in self._damaged if one[0] in loaded)
            for scrub in loaded:
                if not self.is_damaged(scrub):
                    self._look(scrub)
            pause_s = max(0.0, self._pace.period_s - (time.monotonic() - begun_s))

    def _look(self, scrub: Scrub) -> None:
        begun_s = time.monotonic()
        looked = scrub.look(self._turn, lambda: scrub in self._loaded(), self._rest)
        if looked is None:
            return
        if looked.damage is None:
            self.num_scrubbed += 1
            self.last_s = time.monotonic() - begun_s
            return
        self._damaged = (*self._damaged, (scrub, looked.damage))
        self._tell(scrub, looked.damage)

    def _rest(self, num_bytes: int, core_s: float) -> bool:
        pause_s = max(num_bytes / self._pace.bytes_per_s, core_s / self._pace.core_share)
        return not self._ended.wait(pause_s)
