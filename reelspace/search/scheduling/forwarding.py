"""Brings the logs of a collection into those of another one with as many rows and another number of shards.

The rows of an id are in one old shard and in one new one, and an old shard's log is brought over in its order, so each row sees its
writes in order. A write's part in a new shard has the request's own key (former_shards.py), so a client that sends the request again
finds it there, and beside it the number it had, by which a part that was brought over twice is known and left out.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final

from reelspace.search.storage.entries import Entry, Write, forwarded_key
from reelspace.search.storage.former_shards import FormerShards
from reelspace.search.storage.forwarded_log import ForwardedLog
from reelspace.search.storage.log import Log
from reelspace.search.storage.reader import LogGap, LogTail
from reelspace.search.storage.split_rows import split_rows

AT_ONCE: Final = 32
"""Objects of an old log that travel together."""
MAX_THREADS: Final = 16


class Forwarder:
    """Brings over the log of one old shard."""

    def __init__(self, old: Log, place: FormerShards, new: Sequence[ForwardedLog], after: int, now_us: Callable[[], int]) -> None:
        """Begin behind a number.

        Args:
            place: where rows are in the old collection.
            new: the logs of the new shards, in their order.
        """
        self._old, self._place, self._new, self._now_us = old, place, new, now_us
        self._new_place = place.resharded(len(new))
        self._tail = LogTail(old, after)
        self.has_ended = False

    @property
    def number(self) -> int:
        """The last number that is brought over, durably; the mark at the end is not, so that it is found by who goes on from here."""
        return self._tail.number - self.has_ended

    def forward(self) -> int:
        """Bring over what comes next, and give how many objects that were; 0 at the end.

        Raises:
            LogGap: the old log has dropped what comes next.
            LogOpened, StoreUnavailable: see ForwardedLog.add.
        """
        before = self._tail.number
        entries = self._tail.poll(AT_ONCE)
        try:
            self._bring(entries)
        except BaseException:
            self._tail.number = before
            raise
        self.has_ended |= any(entry.mark is not None and entry.mark.kind == "moved_to" for entry in entries)
        return len(entries)

    def bring_keys(self, until: int) -> None:
        """Bring over what the log still has up to a number, for a generation that has the rows already.

        All of it may be sent again, as far as a process knows that has only just begun to look at the log.
        """
        while self._tail.number < until:
            try:
                entries = [entry for entry in self._tail.poll(AT_ONCE) if entry.number <= until]
            except LogGap:
                self._tail.number = self._old.floor()
                continue
            self._bring(entries)

    def _bring(self, entries: Iterable[Entry]) -> None:
        now_us = self._now_us()
        parts: dict[int, list[Write]] = {}
        for entry in entries:
            for write in entry.writes:
                request_key = self._place.request_key(write.client_key)
                for place, rows in split_rows(write.rows, self._new_place.place).items():
                    key = forwarded_key(self._new_place.key(request_key, place.former), self._old.shard, entry.number)
                    parts.setdefault(place.shard, []).append(Write(key, now_us, rows))
        for shard, writes in parts.items():
            self._new[shard].add(writes)


class Forwarding:
    """Brings over the logs of all old shards, each in a thread of its own; close it, or use it as a context."""

    def __init__(self, forwarders: Sequence[Forwarder]) -> None:
        self._forwarders = tuple(forwarders)
        self._pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="forward")

    @property
    def numbers(self) -> tuple[int, ...]:
        """By old shard, the last number that is brought over."""
        return tuple(one.number for one in self._forwarders)

    @property
    def has_ended(self) -> bool:
        """Whether every old log is brought over up to the mark at its end."""
        return all(one.has_ended for one in self._forwarders)

    def round(self) -> bool:
        """Bring over some of each old log, and tell whether that was all there was."""
        tasks = [self._pool.submit(one.forward) for one in self._forwarders]
        wait(tasks)
        return all(task.result() < AT_ONCE for task in tasks)

    def each(self, work: Callable[[int], int], count: int) -> tuple[int, ...]:
        """Do something for each of some shards at a time, and give what it gives."""
        return tuple(self._pool.map(work, range(count)))

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def __enter__(self) -> "Forwarding":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
