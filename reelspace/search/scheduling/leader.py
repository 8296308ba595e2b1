"""One controller at a time: a lock object in the store, which its owner touches and others take when it was not touched for long.

Whether it was touched is seen by its count, over one's own clock, so clocks that differ do no harm. An owner that slept may still act
for a moment: every owner has a number, higher than those before, and what a controller writes carries it (see pointer.py).
"""

import time
from collections.abc import Callable
from secrets import token_hex
from typing import Final

from pydantic import Field

from reelspace.core.settings import Settings
from reelspace.core.store import Store
from reelspace.search.storage.replaced_file import read_or_default, replace_file

LEADER_KEY: Final = "collections/controller.json"
HOLD_S: Final = 15.0


class LeaderFile(Settings):
    """Who leads."""

    owner: str = Field("", description="Who leads; empty: nobody.")
    epoch: int = Field(0, ge=0, description="Counts the owners.")
    beat: int = Field(0, ge=0, description="Counts the touches.")


class Leader:
    """One who would lead. Calls may come from one thread at a time."""

    def __init__(self, store: Store, hold_s: float = HOLD_S, clock: Callable[[], float] = time.monotonic) -> None:
        """Lead nothing yet.

        Args:
            hold_s: seconds after which a lock that is not touched is taken; the owner touches it three times as often.
            clock: for tests; seconds that only rise.
        """
        self._store, self._hold_s, self._clock = store, hold_s, clock
        self.owner = token_hex(8)
        self._seen = LeaderFile()
        self._seen_s = clock()
        self._touched_s = -hold_s

    def lead(self) -> int | None:
        """Keep the lead, or take it if nobody has it any more; gives the owner's number, None if another leads."""
        now_s = self._clock()
        if self._seen.owner == self.owner and now_s - self._touched_s < self._hold_s / 3:
            return self._seen.epoch
        found = read_or_default(self._store, LeaderFile, LEADER_KEY)
        if found != self._seen:
            self._seen, self._seen_s = found, now_s
        if found.owner not in ("", self.owner) and now_s - self._seen_s < self._hold_s:
            return None
        wanted = LeaderFile(owner=self.owner, epoch=found.epoch + (found.owner != self.owner), beat=found.beat + 1)
        written = replace_file(self._store, LeaderFile, LEADER_KEY, lambda one: wanted if one in (found, wanted) else one)
        self._seen, self._seen_s = written, now_s
        if written != wanted:
            return None
        self._touched_s = now_s
        return wanted.epoch

    def leave(self) -> None:
        """Let another lead at once."""

        def without(one: LeaderFile) -> LeaderFile:
            return one.model_copy(update={"owner": ""}) if one.owner == self.owner else one

        self._touched_s = -self._hold_s
        self._seen = replace_file(self._store, LeaderFile, LEADER_KEY, without)
