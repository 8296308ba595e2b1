"""Ends reshardings whose command died between the seal of the old logs and the flip of the name: writes wait there.

What the command does there may be done by several processes at once (reshard.py), so nobody has to know whether it still lives.
"""

import time
from collections.abc import Callable
from typing import Final

from reelspace.core.log import log
from reelspace.core.store import Store
from reelspace.search.scheduling.reshard import reshard
from reelspace.search.scheduling.reshard_copy import Work
from reelspace.search.scheduling.reshard_state import read_reshard
from reelspace.search.storage.moves import MOVES_KEY, Moves
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import read_or_default

LEFT_S: Final = 5.0
"""A command takes less from the seal to the flip, unless the store is slow."""


class LeftMoves:
    """Looks at the moves of a store, and remembers since when it sees one at its seal."""

    def __init__(self, store: Store, now_us: Callable[[], int], left_s: float = LEFT_S) -> None:
        self._store = store
        self._work = Work(1, now_us)
        self._left_s = left_s
        self._since_s: dict[str, float] = {}
        self._moved: set[str] = set()

    def finish(self) -> None:
        """End those that have been at their seal for a while; raises what `reshard` raises."""
        moves = read_or_default(self._store, Moves, MOVES_KEY).moves
        self._moved &= moves.keys()
        self._since_s = {old: since_s for old, since_s in self._since_s.items() if old in moves}
        for old in moves.keys() - self._moved:
            found = read_reshard(self._store, old)
            if found.state == "moved":
                self._moved.add(old)
            if found.state != "sealing" or found.num_shards is None:
                self._since_s.pop(old, None)
                continue
            now_s = time.monotonic()
            if now_s - self._since_s.setdefault(old, now_s) < self._left_s:
                continue
            self._since_s[old] = now_s
            for name, full_name in read_or_default(self._store, Names, NAMES_KEY).collections.items():
                if full_name in (old, found.to):
                    reshard(self._store, name, found.num_shards, self._work)
                    log("resharding", collection=old, step="ended for a command that did not", to=found.to)
