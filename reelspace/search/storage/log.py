"""The log of one shard: numbered objects, each created once, in one total order.

collections/<c>/shards/<s>/log/<20-digit n>.arrow    see entries.py
collections/<c>/shards/<s>/log/floor.json            see floor.py

Number n is only tried by a writer that has read or written every number between the floor and n, so there are no holes above the
floor and a writer knows every request that came before its own. Who may append: writer.py. Who follows: reader.py.
A log may end (marks.py): the mark is never dropped, so nothing is ever written behind it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reelspace.core.errors import ArtifactMissing, PreconditionFailed
from reelspace.core.store import Store
from reelspace.search.storage.entries import Entry, Write, decode, encode, encode_mark
from reelspace.search.storage.floor import raise_floor, read_floor
from reelspace.search.storage.marks import Mark
from reelspace.search.storage.rows import Fields

RETRY_WINDOW_S: Final = 600.0
"""A request that is tried again within this time takes effect once: its first object is not dropped before (seen_numbers.py)."""

_NAME: Final = re.compile(r"(\d{20})\.arrow")


@dataclass(frozen=True, slots=True)
class Log:
    """The log of one shard in a store that honours conditional writes."""

    store: Store
    collection: str
    shard: int
    fields: Fields

    def key(self, number: int) -> str:
        """Give the key of an object."""
        return log_key(self.collection, self.shard, object_name(number))

    @property
    def floor_key(self) -> str:
        """Key of the floor."""
        return log_key(self.collection, self.shard, "floor.json")

    def append(self, number: int, writes: Sequence[Write]) -> None:
        """Create an object, durably; PreconditionFailed if the number is taken.

        Not yet an acknowledgement: that takes a floor, read after this returns, below the number.
        """
        self.store.put_if_absent(self.key(number), encode(self.key(number), self.fields, writes))

    def append_mark(self, number: int, mark: Mark) -> None:
        """Create a mark, durably; raises as `append`."""
        self.store.put_if_absent(self.key(number), encode_mark(self.key(number), self.fields, mark))

    def read(self, number: int) -> Entry | None:
        """Read an object; None if it is not there. Only a floor that is read after this, and below the number, makes it valid.

        Raises:
            CorruptArtifact: see `entries.decode`.
        """
        key = self.key(number)
        try:
            data = self.store.get(key)
        except ArtifactMissing:
            return None
        return decode(key, number, self.fields, data)

    def confirm(self, number: int) -> None:
        """Make sure that an object one has only read is on the disk: its writer may have been stopped before it synced the name."""
        key = self.key(number)
        try:
            self.store.put_if_absent(key, self.store.get(key))
        except (PreconditionFailed, ArtifactMissing):
            return  # the store has synced the name before it refused; or the object was dropped, as the floor will tell

    def last(self) -> int:
        """Give the highest number in the store, 0 if there is none. Lists the log: for a start, not for every look."""
        return last_number(self.store, self.collection, self.shard)

    def floor(self) -> int:
        """Give the floor."""
        return read_floor(self.store, self.floor_key)

    def sure_floor(self) -> int:
        """Give the floor to who acknowledges by it; one that is not found is asked for again, see `read_floor`."""
        return read_floor(self.store, self.floor_key, surely=True)

    def drop(self, floor: int) -> int:
        """Raise the floor, then remove every object up to it; gives the floor, which may be another's higher one.

        Killed in between, the next call removes what is left.
        """
        floor = raise_floor(self.store, self.floor_key, floor)
        for number in log_numbers(self.store, self.collection, self.shard):
            if number <= floor:
                self.store.delete(self.key(number))
        return floor


def object_name(number: int) -> str:
    """Give the name of an object."""
    return f"{number:020d}.arrow"


def log_key(collection: str, shard: int, name: str) -> str:
    """Give the key of a file of a shard's log."""
    return f"collections/{collection}/shards/{shard}/log/{name}"


def last_number(store: Store, collection: str, shard: int) -> int:
    """Give the highest number of a shard's log in the store, 0 if there is none."""
    return max(log_numbers(store, collection, shard), default=0)


def truncate(log: Log, number: int) -> int:
    """Drop a log up to a number, but never the mark at which it ends; gives the floor.

    Args:
        number: every generation that may serve again holds the log up to there, and no request there may be tried again.
    """
    entry = log.read(number) if number > log.floor() else None
    is_end = entry is not None and entry.mark is not None and entry.mark.kind == "moved_to"
    return log.drop(number - is_end)


def log_numbers(store: Store, collection: str, shard: int) -> list[int]:
    """Give the numbers of a shard's log in the store, those below the floor that are not removed yet included."""
    prefix = log_key(collection, shard, "")
    names = (_NAME.fullmatch(key.removeprefix(prefix)) for key in store.list(prefix))
    return [int(name[1]) for name in names if name]
