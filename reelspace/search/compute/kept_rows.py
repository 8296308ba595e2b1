"""The rows that filters allow, kept by filter; their vectors are gathered where a filter is asked for again and there is room.

What is gathered gives way only to filters that are asked for more: many filters that take turns would else each drop the vectors
that the next one needs, and all would be gathered again and again. Legend: A allowed rows.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from reelspace.search.compute.half_rows import HalfRows
from reelspace.search.compute.scoring import Compared, Ints

MAX_KEPT_BYTES: Final = 128 << 20
MAX_KEPT: Final = 1024
PATIENCE: Final = 256
"""So many times filters are asked for until one that was not among them gives way."""

Key = tuple[bytes, str]
State = tuple[int, int, int]


@dataclass(slots=True, eq=False)
class Kept:
    """What is known of a filter.

    Args:
        state: of the shard when it was found out; valid while it is the shard's.
        positions_A: of the allowed rows; None where they are too many.
        compared: their vectors, gathered; None where they are read where they lie.
    """

    state: State
    positions_A: Ints | None = None
    compared: Compared | HalfRows | None = None
    last_asked: int = 0

    @property
    def size_bytes(self) -> int:
        """Memory that it takes."""
        vectors = 0 if self.compared is None else self.compared.size_bytes
        return vectors + (0 if self.positions_A is None else self.positions_A.nbytes)


class KeptRows:
    """Filters by their bytes and the name of the vectors. Calls come from one thread at a time."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._num_asked = 0
        self.size_bytes = 0
        """Memory that all take."""

    def asked(self, key: Key) -> Kept | None:
        """Give what is known of a filter that is asked for, None the first time."""
        self._num_asked += 1
        kept = self._kept.get(key)
        if kept is not None:
            kept.last_asked = self._num_asked
            self._kept.move_to_end(key)
        return kept

    def put(self, key: Key, kept: Kept) -> Kept:
        """Keep what was found out, in the place of what was known before; gives it."""
        self._drop(key)
        kept.last_asked = self._num_asked
        self._kept[key] = kept
        self.size_bytes += kept.size_bytes
        if len(self._kept) > MAX_KEPT:
            self._drop(next(iter(self._kept)))
        return kept

    def make_room(self, size_bytes: int) -> bool:
        """Tell whether there is room for so many bytes, made by dropping what was not asked for of late."""
        if self.size_bytes + size_bytes <= MAX_KEPT_BYTES:
            return True
        free, dropped = MAX_KEPT_BYTES - self.size_bytes, []
        for key, kept in self._kept.items():
            if self._num_asked - kept.last_asked < PATIENCE:
                return False
            dropped.append(key)
            free += kept.size_bytes
            if free >= size_bytes:
                break
        for key in dropped:
            self._drop(key)
        return free >= size_bytes

    def _drop(self, key: Key) -> None:
        old = self._kept.pop(key, None)
        if old is not None:
            self.size_bytes -= old.size_bytes
