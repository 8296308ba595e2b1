"""The log of one shard as forwarders fill it, before clients may write to it.

Several forwarders may do the same at a time, one of them after a long sleep: every write has a key of its own, so each enters once,
in the order in which its old log has it. When all is brought over a mark is set. A forwarder that has not read the mark cannot write
behind it, for it tries no number before it has read all below; and where objects are dropped, which never happens before the mark,
it finds the floor above what it wrote.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Final

from reelspace.core.errors import PreconditionFailed, TemporaryError
from reelspace.search.storage.entries import Entry, Write
from reelspace.search.storage.log import Log
from reelspace.search.storage.marks import Mark
from reelspace.search.storage.writer import MAX_OBJECT_BYTES

START: Final = 0


class LogOpened(TemporaryError):
    """Everything was brought into a log already, and clients write to it now: nothing is left to do for this forwarder."""


class ForwardedLog:
    """Appends writes that come from other logs. Calls may come from any thread."""

    def __init__(self, log: Log) -> None:
        """Read nothing yet."""
        self._log = log
        self._lock = threading.Lock()
        self._has_read = self._is_over = False
        self._head = START
        self._durable = START
        self._keys: set[str] = set()
        self._opened_at: int | None = None

    @property
    def head(self) -> int:
        """The last number that is known."""
        return self._head

    def add(self, writes: Sequence[Write]) -> None:
        """Append those that are not there yet, in their order; all are durable when this returns.

        Raises:
            LogOpened: one is not there, and the log takes no more of them.
            StoreUnavailable: some may be durable; do it again.
        """
        with self._lock:
            self._begin()
            while fresh := [one for one in writes if one.request_key not in self._keys]:
                self._check_closed()
                self._append(next(_objects(fresh)))
            self._confirm()

    def open_to_clients(self, mark: Mark) -> int:
        """Set the mark behind which clients write, and give its number; a mark that is there stays."""
        with self._lock:
            self._begin()
            while self._opened_at is None:
                self._check_closed()
                try:
                    self._log.append_mark(self._head + 1, mark)
                except PreconditionFailed:
                    self._read_on()
                else:
                    self._check_whole()
                    self._note(Entry(self._head + 1, (), mark))
            self._confirm()
            return self._opened_at

    def _begin(self) -> None:
        if self._is_over:
            raise self._opened()
        if not self._has_read:
            self._read_on()
            self._has_read = True

    def _append(self, writes: Sequence[Write]) -> None:
        try:
            self._log.append(self._head + 1, writes)
        except PreconditionFailed:
            self._read_on()
        else:
            self._check_whole()
            self._note(Entry(self._head + 1, tuple(writes)))
            self._durable = self._head

    def _read_on(self) -> None:
        found: list[Entry] = []
        while entry := self._log.read(self._head + len(found) + 1):
            found.append(entry)
        self._check_whole()
        for entry in found:
            self._note(entry)

    def _note(self, entry: Entry) -> None:
        self._head = entry.number
        self._keys.update(write.request_key for write in entry.writes)
        if entry.mark is not None and entry.mark.kind == "moved_from":
            self._opened_at = entry.number

    def _confirm(self) -> None:
        """Make sure that what another forwarder wrote, and was stopped before it could know, is on the disk."""
        if self._durable < self._head:
            self._log.confirm(self._head)
            self._durable = self._head

    def _check_closed(self) -> None:
        if self._opened_at is not None:
            raise self._opened()

    def _check_whole(self) -> None:
        """Refuse to go on where objects were dropped: what was read or written just now may lie below the floor, where nobody looks."""
        if self._log.floor() > START:
            self._is_over = True
            raise self._opened()

    def _opened(self) -> LogOpened:
        what = f"shard {self._log.shard} of {self._log.collection}"
        return LogOpened(f"{what} was filled by another process, and clients write to it now: nothing is left to do")


def _objects(writes: Sequence[Write]) -> Iterator[list[Write]]:
    """Cut writes so that an object is no larger than one of a LogWriter."""
    group: list[Write] = []
    num_bytes = 0
    for write in writes:
        if group and num_bytes + write.rows.size_bytes > MAX_OBJECT_BYTES:
            yield group
            group, num_bytes = [], 0
        group.append(write)
        num_bytes += write.rows.size_bytes
    if group:
        yield group
