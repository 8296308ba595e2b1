"""Follows the log of one shard: the numbers after those a generation contains, in order, none twice."""

import time
from collections.abc import Callable, Iterator
from typing import Final

from reelspace.core.errors import CorruptArtifact, TemporaryError
from reelspace.search.storage.entries import Entry
from reelspace.search.storage.log import Log

MAX_ENTRIES: Final = 256
_PAUSE_S: Final = 0.01


class LogGap(TemporaryError):
    """Numbers that were not read yet are dropped: reload the shard's current generation, which contains them."""


class LogTimeout(TemporaryError):
    """A number did not come in time."""


def read_from(log: Log, after: int) -> Iterator[Entry]:
    """Read every entry after a number, up to the last one that the store lists now, and beyond while there are more.

    Raises:
        LogGap: the floor rose above `after` meanwhile.
        CorruptArtifact: an entry is damaged, or one below the last is missing.
    """
    last = log.last()
    tail = LogTail(log, after)
    while entries := tail.poll():
        yield from entries
    if tail.number < last:
        raise CorruptArtifact(
            f"log object {log.key(tail.number + 1)} is missing, though number {last} is there: restore the collection from a snapshot"
        )


class LogTail:
    """Reads on from the last number applied; `number` is that of the last entry given."""

    def __init__(self, log: Log, after: int) -> None:
        self._log = log
        self.number = after

    def poll(self, max_entries: int = MAX_ENTRIES) -> list[Entry]:
        """Give the next entries, none if there are none: one GET of the next number, one of the floor.

        Raises:
            LogGap: see there.
            CorruptArtifact: the next entry is damaged.
        """
        found: list[Entry] = []
        damage: CorruptArtifact | None = None
        try:
            while len(found) < max_entries and (entry := self._log.read(self.number + len(found) + 1)):
                found.append(entry)
        except CorruptArtifact as error:
            damage = error
        # Read after the entries: a writer that slept may put an object below the floor, which nobody may take for a valid one.
        floor = self._log.floor()
        if floor > self.number:
            what = f"the log of shard {self._log.shard} of {self._log.collection} is dropped up to {floor}"
            raise LogGap(f"{what}, it was read up to {self.number}: reload the generation")
        if damage is not None and not found:
            raise damage
        self.number += len(found)
        return found

    def wait_for(self, number: int, apply: Callable[[Entry], object], timeout_s: float) -> None:
        """Poll until a number was given to `apply`, as read-your-writes wants after an acknowledgement.

        Raises:
            LogTimeout: it did not come in time; what came before it is applied.
            LogGap: see there.
        """
        deadline_s = time.monotonic() + timeout_s
        while self.number < number:
            entries = self.poll()
            for entry in entries:
                apply(entry)
            if not entries and self.number < number:
                if time.monotonic() >= deadline_s:
                    raise LogTimeout(f"{self._log.key(number)} did not come within {timeout_s:g} s; {self.number} is the last")
                time.sleep(_PAUSE_S)
