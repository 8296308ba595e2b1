"""Appends to the log of one shard: many callers, one PUT at a time, each request once.

Requests that wait while a PUT is in flight go into the next object together. A request is acknowledged with its number when its
object is durable and a floor that was read afterwards lies below that number; a writer that slept through a truncation finds the
floor above its number and appends again at the head. Since a number is only tried after every number before it was read or
written, a request key that another writer has brought into the log is found before it could enter twice; this also settles a PUT
whose answer was lost: it is sent again, refused, and its own keys are found in the object.

A writer that meets the mark at which the log ends writes nothing more: what is not in the log is refused with LogMoved.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

from reelspace.core.errors import (
    DiskFull,
    InternalError,
    PreconditionFailed,
    ReelspaceError,
    StoreUnavailable,
    TemporaryError,
    UserError,
    as_reelspace_error,
)
from reelspace.search.storage.entries import Entry, Write
from reelspace.search.storage.log import RETRY_WINDOW_S, Log
from reelspace.search.storage.reader import LogGap, read_from
from reelspace.search.storage.rows import Rows, checked

MAX_OBJECT_BYTES: Final = 16 << 20
"""Requests are grouped up to this size; a larger one is an object of its own."""
MAX_WRITE_BYTES: Final = 64 << 20
MAX_WAITING_BYTES: Final = 256 << 20
MAX_KEY_LENGTH: Final = 128
DEADLINE_S: Final = 30.0
"""A request that is not durable by then is given up; far below RETRY_WINDOW_S, so that what it tried cannot have been dropped."""
_FIRST_PAUSE_S: Final = 0.02
_LAST_PAUSE_S: Final = 1.0


class LogBusy(TemporaryError):
    """So much waits for the log that more is not taken: try again later."""


class RequestKeyReused(UserError):
    """A request key came again with other rows; `number` is where it lies with those it came with first."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class LogMoved(UserError):
    """The log ends, for its collection moved into another: write there, under the same request key; `to` is its full name."""

    def __init__(self, collection: str, to: str) -> None:
        super().__init__(f"collection {collection} moves into {to}: write there, once its name means that")
        self.to = to


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as the writer sees it: `now_us` since 1970, UTC, for the rows; `monotonic_s` for deadlines."""

    now_us: Callable[[], int] = lambda: time.time_ns() // 1000
    monotonic_s: Callable[[], float] = time.monotonic


@dataclass(slots=True)
class _Waiting:
    write: Write
    deadline_s: float
    done: "Future[int]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class _Seen:
    number: int
    digest: bytes


class LogWriter:
    """Appends rows; any number of writers in any process may share a log. Close it, or use it as a context."""

    def __init__(self, log: Log, *, deadline_s: float = DEADLINE_S, clock: Clock | None = None) -> None:
        """Start the writer's thread; the log is read when the first request comes.

        Args:
            log: the shard's log.
            deadline_s: seconds until a request that is not durable is given up; at most half of RETRY_WINDOW_S.
            clock: for tests.
        """
        assert 0 < deadline_s <= RETRY_WINDOW_S / 2
        self._log, self._deadline_s, self._clock = log, deadline_s, clock or Clock()
        self._state = threading.Condition()
        self._queue: deque[_Waiting] = deque()
        self._looks: list[Future[None]] = []
        self._waiting_bytes = 0
        self._closed: ReelspaceError | None = None
        self._trouble: StoreUnavailable | None = None
        self._head: int | None = None
        self._durable = 0
        self._moved_to: str | None = None
        self._seen: dict[str, _Seen] = {}
        self._keys: deque[tuple[int, tuple[str, ...]]] = deque()
        self._thread = threading.Thread(target=self._run, name=f"log-{log.collection}-{log.shard}", daemon=True)
        self._thread.start()

    def submit(self, request_key: str, rows: Rows) -> "Future[int]":
        """Take a request for the next object; its future gives the number under which it is durable.

        The future of a request whose outcome is unknown raises a TemporaryError: the same key and rows may be sent again, here or to
        any other writer, and take effect once, for as long as RETRY_WINDOW_S.

        Args:
            request_key: 1 to 128 printable characters that no other request has.
            rows: take effect together and in order.

        The future raises LogMoved where the log ends and the request is not in it.

        Raises:
            RowRefused: a row may not enter the log; nothing of the request is taken.
            UserError: the key is none, or the request is larger than 64 MiB.
            LogBusy: too much waits already.
            ReelspaceError: the writer is closed, or its disk failed.
        """
        if not 1 <= len(request_key) <= MAX_KEY_LENGTH or not request_key.isprintable():
            raise UserError(f"request key {request_key[:60]!r}: expected 1 to {MAX_KEY_LENGTH} printable characters")
        rows = checked(rows, self._log.fields)
        if rows.size_bytes > MAX_WRITE_BYTES:
            raise UserError(f"a request of {rows.size_bytes} bytes: expected at most {MAX_WRITE_BYTES}; send it in parts")
        waiting = _Waiting(Write(request_key, self._clock.now_us(), rows), self._clock.monotonic_s() + self._deadline_s)
        with self._state:
            if self._closed is not None:
                raise self._closed
            if self._waiting_bytes + rows.size_bytes > MAX_WAITING_BYTES:
                raise LogBusy(f"{self._waiting_bytes} bytes wait for the log of {self._name}: try again later")
            self._queue.append(waiting)
            self._waiting_bytes += rows.size_bytes
            self._state.notify()
        return waiting.done

    def read_ahead(self) -> "Future[None]":
        """Read the log on, so that the next request need not wait for that; a future tells when, or what went wrong."""
        look: Future[None] = Future()
        with self._state:
            if self._closed is not None:
                raise self._closed
            self._looks.append(look)
            self._state.notify()
        return look

    def append(self, request_key: str, rows: Rows) -> int:
        """Submit a request and wait for its number."""
        return self.submit(request_key, rows).result()

    def close(self) -> None:
        """Take no more requests, finish those that wait, and end."""
        with self._state:
            self._closed = self._closed or TemporaryError(f"the writer of {self._name} is closed: use another")
            self._state.notify()
        self._thread.join()

    def __enter__(self) -> "LogWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def trouble(self) -> StoreUnavailable | None:
        """What keeps requests waiting: the store's last failure, None once it has answered again."""
        return self._trouble

    @property
    def _name(self) -> str:
        return f"shard {self._log.shard} of {self._log.collection}"

    def _run(self) -> None:
        failure: ReelspaceError = InternalError(f"the writer of {self._name} ended")
        group: list[_Waiting] | None = []
        try:
            while (group := self._next_group()) is not None:
                try:
                    self._look()
                    self._commit(group)
                except (ReelspaceError, OSError) as error:
                    told = as_reelspace_error(error)
                    _fail(group, told)
                    if isinstance(error, OSError) and not isinstance(told, DiskFull):
                        # A disk that failed to sync may hold anything: acknowledge nothing any more.
                        failure = told
                        return
        finally:
            with self._state:
                self._closed = self._closed or failure
                left = [*(group or []), *(waiting for waiting in self._queue if waiting.done.set_running_or_notify_cancel())]
                self._queue.clear()
                looks, self._looks = self._looks, []
            _fail(left, failure)
            for look in looks:
                look.set_exception(failure)

    def _next_group(self) -> list[_Waiting] | None:
        """Wait for requests and take as many as fit into one object, none where the log is to be looked at; None at the end."""
        group: list[_Waiting] = []
        num_bytes = 0
        with self._state:
            while not group and not self._looks:
                while not self._queue and not self._looks:
                    if self._closed is not None:
                        return None
                    self._state.wait()
                while self._queue and (not group or num_bytes + self._queue[0].write.rows.size_bytes <= MAX_OBJECT_BYTES):
                    waiting = self._queue.popleft()
                    num_bytes += waiting.write.rows.size_bytes
                    self._waiting_bytes -= waiting.write.rows.size_bytes
                    if waiting.done.set_running_or_notify_cancel():
                        group.append(waiting)
        return group

    def _look(self) -> None:
        """Read the log on if somebody asked for that."""
        with self._state:
            looks, self._looks = self._looks, []
        looks = [look for look in looks if look.set_running_or_notify_cancel()]
        if not looks:
            return
        try:
            if self._head is None:
                self._head = self._catch_up()
            else:
                self._read_on()
        except (ReelspaceError, OSError) as error:
            for look in looks:
                look.set_exception(as_reelspace_error(error))
        else:
            for look in looks:
                look.set_result(None)

    def _commit(self, waiting: list[_Waiting]) -> None:
        pause_s = _FIRST_PAUSE_S
        while waiting:
            try:
                self._place(waiting)
                waiting = self._not_moved(self._acknowledge(waiting))
                self._trouble = None
            except StoreUnavailable as error:
                self._trouble = error
                waiting = self._not_late(waiting, error)
                if waiting:
                    time.sleep(pause_s)
                    pause_s = min(2 * pause_s, _LAST_PAUSE_S)
            else:
                waiting = self._not_late(waiting, None)

    def _place(self, waiting: Sequence[_Waiting]) -> None:
        """Try the next number for what is not in the log yet, or learn what lies there."""
        if self._head is None:
            self._head = self._catch_up()
        fresh: dict[str, Write] = {}
        for one in waiting:
            if one.write.request_key not in self._seen:
                fresh.setdefault(one.write.request_key, one.write)
        if not fresh or self._moved_to is not None:
            return
        number = self._head + 1
        entry = Entry(number, tuple(fresh.values()))
        try:
            self._log.append(number, entry.writes)
        except PreconditionFailed:
            self._durable = number
            self._read_on()
        else:
            self._durable = number
            self._note(entry)

    def _acknowledge(self, waiting: Sequence[_Waiting]) -> list[_Waiting]:
        """Answer what is durable above the floor; gives the rest."""
        seen = [(one, self._seen.get(one.write.request_key)) for one in waiting]
        unsure = max((found.number for _, found in seen if found), default=0)
        if unsure > self._durable:
            self._log.confirm(unsure)
            self._durable = unsure
        floor = self._log.sure_floor()
        for one, found in seen:
            if found is None or found.number <= floor:
                continue
            if found.digest != one.write.rows.digest:
                what = f"request key {one.write.request_key!r} came before with other rows: use a new one"
                one.done.set_exception(RequestKeyReused(what, found.number))
            else:
                one.done.set_result(found.number)
        self._forget(floor)
        if self._head is not None and floor >= self._head:
            self._head = None
        return [one for one, found in seen if found is None or found.number <= floor]

    def _catch_up(self) -> int:
        """Read the log above the floor, for its end and its request keys."""
        while True:
            self._seen.clear()
            self._keys.clear()
            self._moved_to = None
            self._head = self._log.sure_floor()
            try:
                for entry in read_from(self._log, self._head):
                    self._note(entry)
            except LogGap:
                continue  # the floor rose meanwhile
            return self._head

    def _read_on(self) -> None:
        assert self._head is not None
        while entry := self._log.read(self._head + 1):
            self._note(entry)

    def _note(self, entry: Entry) -> None:
        self._head = entry.number
        if entry.mark is not None and entry.mark.kind == "moved_to":
            self._moved_to = entry.mark.collection
        self._keys.append((entry.number, tuple(write.client_key for write in entry.writes)))
        for write in entry.writes:
            self._seen[write.client_key] = _Seen(entry.number, write.rows.digest)

    def _forget(self, floor: int) -> None:
        while self._keys and self._keys[0][0] <= floor:
            number, keys = self._keys.popleft()
            for key in keys:
                # A key that was used again, once its first use was forgotten, is known by the later one.
                if (seen := self._seen.get(key)) is not None and seen.number == number:
                    del self._seen[key]

    def _not_moved(self, waiting: list[_Waiting]) -> list[_Waiting]:
        if self._moved_to is None or not waiting:
            return waiting
        _fail(waiting, LogMoved(self._log.collection, self._moved_to))
        return []

    def _not_late(self, waiting: Sequence[_Waiting], error: StoreUnavailable | None) -> list[_Waiting]:
        now_s = self._clock.monotonic_s()
        late = [one for one in waiting if one.deadline_s <= now_s]
        if late:
            why = f": {error}" if error else ""
            what = f"{self._name}: not known to be written after {self._deadline_s:g} s{why}; send it again under the same request key"
            _fail(late, StoreUnavailable(what))
        return [one for one in waiting if one.deadline_s > now_s]


def _fail(waiting: Sequence[_Waiting], error: ReelspaceError) -> None:
    for one in waiting:
        if not one.done.done():
            one.done.set_exception(error)
