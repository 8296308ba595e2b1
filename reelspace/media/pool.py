"""Worker processes that may crash, hang or swell: each such item costs only itself.

A worker that dies, exceeds its time or its memory is replaced; its item is given up with a reason, after one more try on a fresh
worker if it died (the death may have been another's fault, say the kernel's hunt for memory).
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Final

from pydantic import Field

from reelspace.core.errors import InternalError, StoreUnavailable
from reelspace.core.settings import PLACE, Settings
from reelspace.media.bad_media import Reason
from reelspace.media.messages import Inbox, Tag, send

_LOOK_AHEAD: Final = 32  # answers per worker that may wait for a slow item before them
_START_LIMIT_S: Final = 120.0
_NUM_TRIES: Final = 2
_NUM_ASSIGNMENTS: Final = 5
"""So often an item is given to a worker that dies before it has begun: that is seldom the item's fault, but may be."""
_MAX_FAILED_STARTS: Final = 3
_TAIL_BYTES: Final = 2000
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class PoolSettings(Settings):
    """How many workers there are, and what one item may take."""

    num_workers: int | None = Field(None, ge=1, le=1024, description="Worker processes; None is one per core.", json_schema_extra=PLACE)
    time_limit_s: float = Field(30.0, gt=0, le=3600, description="Longest time one item may take once its bytes are there, in seconds.")
    fetch_limit_s: float = Field(
        600.0, gt=0, le=24 * 3600, description="Longest time the bytes of one item may take to come, in seconds.", json_schema_extra=PLACE
    )
    memory_limit_mib: int = Field(2048, ge=512, le=1 << 20, description="Address space of one worker, in MiB.")


@dataclass(frozen=True, slots=True)
class Done:
    """The task's answer."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer: the item crashed, hung or swelled."""

    reason: Reason
    detail: str


@dataclass(slots=True)
class _Item:
    number: int
    payload: bytes
    num_tries: int = 0
    num_assignments: int = 0
    has_begun: bool = False


class _Queue:
    """Items on their way: taken in order, a limited number ahead; answered in any order; given back in order."""

    def __init__(self, payloads: Iterable[bytes], look_ahead: int) -> None:
        self._source = enumerate(payloads)
        self._look_ahead = look_ahead
        self._retries: deque[_Item] = deque()
        self._answers: dict[int, Done | Lost] = {}
        self._num_taken = 0
        self._num_given = 0
        self._is_drained = False

    @property
    def is_finished(self) -> bool:
        return self._is_drained and self._num_given == self._num_taken

    def take(self) -> _Item | None:
        if self._retries:
            return self._retries.popleft()
        if self._is_drained or self._num_taken >= self._num_given + self._look_ahead:
            return None
        number, payload = next(self._source, (-1, b""))
        self._is_drained = number < 0
        self._num_taken += not self._is_drained
        return None if self._is_drained else _Item(number, payload)

    def answer(self, item: _Item, answer: Done | Lost) -> None:
        self._answers[item.number] = answer

    def answer_death(self, item: _Item, detail: str) -> None:
        if item.num_tries < _NUM_TRIES if item.has_begun else item.num_assignments < _NUM_ASSIGNMENTS:
            self._retries.append(item)
        else:
            self.answer(item, Lost(Reason.DECODER_CRASH, detail))

    def given(self) -> Iterator[Done | Lost]:
        while self._num_given in self._answers:
            answer = self._answers.pop(self._num_given)
            self._num_given += 1
            yield answer


@dataclass
class _Worker:
    """One process: starting until it says that it is ready, then idle or at work on its item."""

    process: subprocess.Popen[bytes]
    connection: socket.socket
    printed: IO[bytes]
    deadline_s: float
    inbox: Inbox = field(default_factory=Inbox)
    is_ready: bool = False
    item: _Item | None = None

    @property
    def is_idle(self) -> bool:
        return self.is_ready and self.item is None

    def end(self) -> str:
        """Kill the process and give how it ended: an earlier death keeps its own cause."""
        self.connection.close()
        self.process.kill()
        code = self.process.wait()
        self.printed.seek(max(0, self.printed.seek(0, 2) - _TAIL_BYTES))
        words = " ".join(self.printed.read().decode(errors="replace").split())
        self.printed.close()
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"{cause}: {words}" if words else cause


class WorkerPool:
    """Runs a task on payloads in worker processes; a context manager, to be entered in the main thread.

    Args:
        task: `module:function`, a `worker.Task`; it is imported in the workers only.
    """

    def __init__(self, task: str, settings: PoolSettings) -> None:
        self._task = task
        self._settings = settings
        self._num_workers = settings.num_workers or len(os.sched_getaffinity(0))
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []
        self._num_failed_starts = 0

    def __enter__(self) -> WorkerPool:
        for _ in range(self._num_workers):
            self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for worker in list(self._workers):
            self._remove(worker)
        self._selector.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the present workers."""
        return tuple(worker.process.pid for worker in self._workers)

    def map(self, payloads: Iterable[bytes]) -> Iterator[Done | Lost]:
        """Give one answer per payload, in the order of the payloads, which are taken a few at a time.

        Raises:
            StoreUnavailable: the bytes of an item did not come; that is no fault of the item.
            InternalError: no worker can start; the message holds what the last one printed.
        """
        queue = _Queue(payloads, _LOOK_AHEAD * self._num_workers)
        while True:
            for worker in self._workers:
                item = queue.take() if worker.is_idle else None
                if item is not None:
                    self._assign(worker, item)
            if queue.is_finished:
                return
            self._wait(queue)
            yield from queue.given()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        printed = tempfile.TemporaryFile()  # noqa: SIM115  closed with its worker
        limits = [str(self._settings.memory_limit_mib << 20), str(os.getpid())]
        process = subprocess.Popen(
            [sys.executable, "-m", "reelspace.media.worker", self._task, *limits],
            stdin=theirs.fileno(),
            stdout=printed,
            stderr=printed,
            env={**os.environ, **_ONE_THREAD},
            start_new_session=True,  # Ctrl-C is for the parent, which ends its workers itself
        )
        theirs.close()
        worker = _Worker(process, ours, printed, time.monotonic() + _START_LIMIT_S)
        self._workers.append(worker)
        self._selector.register(ours, selectors.EVENT_READ, worker)

    def _remove(self, worker: _Worker) -> str:
        self._selector.unregister(worker.connection)
        self._workers.remove(worker)
        return worker.end()

    def _assign(self, worker: _Worker, item: _Item) -> None:
        item.num_assignments += 1
        item.has_begun = False
        worker.item = item
        worker.deadline_s = time.monotonic() + self._settings.fetch_limit_s
        # One that died idle is found by its closed connection at the next wait.
        with suppress(BrokenPipeError, ConnectionResetError):
            send(worker.connection, Tag.JOB, item.payload)

    def _wait(self, queue: _Queue) -> None:
        """Wait for a message, a death or a deadline, and act on it."""
        deadline_s = min(worker.deadline_s for worker in self._workers if not worker.is_idle)
        for key, _ in self._selector.select(max(0.0, deadline_s - time.monotonic())):
            self._hear(key.data, queue)
        now_s = time.monotonic()
        for worker in [worker for worker in self._workers if not worker.is_idle and worker.deadline_s <= now_s]:
            self._give_up(worker, queue)

    def _hear(self, worker: _Worker, queue: _Queue) -> None:
        is_alive = worker.inbox.receive(worker.connection)
        while (message := worker.inbox.next()) is not None:
            self._act(worker, queue, *message)
        if not is_alive:
            self._replace_dead(worker, queue)

    def _act(self, worker: _Worker, queue: _Queue, tag: Tag, data: bytes) -> None:
        if tag is Tag.READY:
            worker.is_ready = True
            self._num_failed_starts = 0
            return
        item = worker.item
        assert item is not None
        if tag is Tag.BEGUN:
            item.has_begun = True
            item.num_tries += 1
            worker.deadline_s = time.monotonic() + self._settings.time_limit_s
            return
        worker.item = None
        if tag is Tag.DONE:
            queue.answer(item, Done(data))
        elif tag is Tag.FAILED:
            queue.answer(item, Lost(Reason.DECODER_CRASH, data.decode()))
        else:
            limit = f"more than {self._settings.memory_limit_mib} MiB"
            queue.answer(item, Lost(Reason.OUT_OF_MEMORY, f"{limit} {data.decode()}".strip()))

    def _replace_dead(self, worker: _Worker, queue: _Queue) -> None:
        cause = self._remove(worker)
        if not worker.is_ready:
            self._num_failed_starts += 1
            if self._num_failed_starts >= _MAX_FAILED_STARTS:
                raise InternalError(f"no worker for {self._task} can start: {cause}")
        elif worker.item is not None:
            queue.answer_death(worker.item, f"the decoding process died ({cause})")
        self._start()

    def _give_up(self, worker: _Worker, queue: _Queue) -> None:
        cause = self._remove(worker)
        if worker.item is None:
            raise InternalError(f"no worker for {self._task} is ready after {_START_LIMIT_S:g} s: {cause}")
        if not worker.item.has_begun:
            raise StoreUnavailable(f"an item's bytes did not come within {self._settings.fetch_limit_s:g} s; try again")
        queue.answer(worker.item, Lost(Reason.DECODE_TIMEOUT, f"not decoded within {self._settings.time_limit_s:g} s"))
        self._start()
