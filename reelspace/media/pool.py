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
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Final

from pydantic import Field

from reelspace.core.errors import InternalError
from reelspace.core.settings import PLACE, Settings
from reelspace.media.bad_media import Reason
from reelspace.media.messages import Inbox, Tag, send

_LOOK_AHEAD: Final = 32  # answers per worker that may wait for a slow item before them
_START_LIMIT_S: Final = 120.0
_NUM_TRIES: Final = 2
_TAIL_BYTES: Final = 2000
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class PoolSettings(Settings):
    """How many workers there are, and what one item may take."""

    num_workers: int | None = Field(None, ge=1, le=1024, description="Worker processes; None is one per core.", json_schema_extra=PLACE)
    time_limit_s: float = Field(30.0, gt=0, le=3600, description="Longest time one item may take, in seconds.")
    memory_limit_mib: int = Field(2048, ge=256, le=1 << 20, description="Address space of one worker, in MiB.")


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


@dataclass
class _Worker:
    """One process; it is starting until it says it is ready."""

    process: subprocess.Popen[bytes]
    connection: socket.socket
    errors: IO[bytes]
    deadline_s: float
    inbox: Inbox = field(default_factory=Inbox)
    is_ready: bool = False
    item: _Item | None = None

    def end(self) -> int:
        self.connection.close()
        self.process.kill()
        return self.process.wait()

    def last_words(self) -> str:
        self.errors.seek(0, 2)
        self.errors.seek(max(0, self.errors.tell() - _TAIL_BYTES))
        return " ".join(self.errors.read().decode(errors="replace").split())


class WorkerPool:
    """Runs a task on payloads in worker processes; a context manager, started from the main thread.

    Args:
        task: `module:function` from bytes to bytes; it is imported in the workers only.
    """

    def __init__(self, task: str, settings: PoolSettings) -> None:
        self._task = task
        self._settings = settings
        self._num_workers = settings.num_workers or len(os.sched_getaffinity(0))
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []

    def __enter__(self) -> WorkerPool:
        for _ in range(self._num_workers):
            self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for worker in list(self._workers):
            self._remove(worker)
        self._selector.close()

    def map(self, payloads: Iterable[bytes]) -> Iterator[Done | Lost]:
        """Give one answer per payload, in the order of the payloads, which are taken a few at a time.

        Raises:
            InternalError: the task cannot be imported; the message holds what the worker printed.
        """
        source = enumerate(payloads)
        retries: deque[_Item] = deque()
        answers: dict[int, Done | Lost] = {}
        num_given = 0
        num_taken = 0
        is_drained = False
        while True:
            for worker in self._workers:
                if not worker.is_ready or worker.item is not None:
                    continue
                if retries:
                    self._assign(worker, retries.popleft())
                elif not is_drained and num_taken < num_given + _LOOK_AHEAD * self._num_workers:
                    taken = next(source, None)
                    if taken is None:
                        is_drained = True
                    else:
                        num_taken += 1
                        self._assign(worker, _Item(*taken))
            if is_drained and num_given == num_taken:
                return
            self._wait(answers, retries)
            while num_given in answers:
                yield answers.pop(num_given)
                num_given += 1

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        errors = tempfile.TemporaryFile()
        limits = [str(self._settings.memory_limit_mib << 20), str(os.getpid())]
        process = subprocess.Popen(
            [sys.executable, "-m", "reelspace.media.worker", self._task, *limits],
            stdin=theirs,
            stdout=errors,
            stderr=errors,
            env={**os.environ, **_ONE_THREAD},
            start_new_session=True,  # Ctrl-C is for the parent, which ends its workers itself
        )
        theirs.close()
        worker = _Worker(process, ours, errors, time.monotonic() + _START_LIMIT_S)
        self._workers.append(worker)
        self._selector.register(ours, selectors.EVENT_READ, worker)

    def _remove(self, worker: _Worker) -> int:
        self._selector.unregister(worker.connection)
        self._workers.remove(worker)
        code = worker.end()
        worker.errors.close()
        return code

    def _assign(self, worker: _Worker, item: _Item) -> None:
        worker.item = item
        item.num_tries += 1
        worker.deadline_s = time.monotonic() + self._settings.time_limit_s
        try:
            send(worker.connection, Tag.JOB, item.payload)
        except (BrokenPipeError, ConnectionResetError):
            return  # it died while idle; the closed connection is found at the next wait
...
