"""Where the figures of a training go beside train_log.jsonl: told by threads of their own, so that no step waits for them."""

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from reelspace.core.errors import ReelspaceError
from reelspace.core.log import log

NUM_HELD = 1_000
CLOSE_S = 10.0
_RETRY_S = 5.0
_HURRY_S = 1.0
_BATCH = 20


@dataclass(frozen=True, slots=True)
class Line:
    """The figures of one logged step, and when it was taken, seconds since 1970."""

    step: int
    figures: Mapping[str, float]
    at_s: float


class Sink(Protocol):
    """Takes figures without ever holding up the step that gives them."""

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Take the figures of a logged step."""

    def close(self, *, is_done: bool) -> None:
        """Tell what is left, within a bounded time; `is_done`: the training came to its last step."""


class Target(Protocol):
    """A place that a thread writes to, at its own pace; steps told before are passed by."""

    def send(self, lines: Sequence[Line]) -> None:
        """Tell lines in order of steps; after an error the same lines may come again."""

    def finish(self, *, is_done: bool) -> None:
        """Say that no more will come."""


class Background:
    """A sink that holds lines until its target takes them; where too many wait, new ones are dropped and counted.

    Args:
        name: what log lines call the target.
        num_held: lines that may wait.
        retry_s: seconds between two tries after an error.
        close_s: seconds that `close` waits for what is left.
    """

    def __init__(self, name: str, target: Target, *, num_held: int = NUM_HELD, retry_s: float = _RETRY_S, close_s: float = CLOSE_S) -> None:
        self._name, self._target = name, target
        self._num_held, self._retry_s, self._close_s = num_held, retry_s, close_s
        self._lines: deque[Line] = deque()
        self._changed = threading.Condition()
        self._is_closing = self._is_over = self._is_done = self._is_told = False
        self.num_dropped = 0
        # A daemon: a server that never answers must not keep the process.
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"tell-{name}")
        self._thread.start()

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Hold the figures of a step for the thread."""
        with self._changed:
            if len(self._lines) >= self._num_held:
                self.num_dropped += 1
                return
            self._lines.append(Line(step, dict(figures), time.time()))
            self._changed.notify()

    def close(self, *, is_done: bool) -> None:
        """Give the thread `close_s` seconds for what is left; the rest is dropped, and the log says how many lines were."""
        with self._changed:
            self._is_closing, self._is_done = True, is_done
            self._changed.notify()
        self._thread.join(self._close_s)
        with self._changed:
            self.num_dropped += len(self._lines)
            self._lines.clear()
            self._is_over = True
            self._changed.notify()
        if self.num_dropped:
            log("figures_dropped", sink=self._name, lines=self.num_dropped, kept_in="train_log.jsonl")

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._is_closing)
                lines, is_closing = list(islice(self._lines, _BATCH)), self._is_closing
                if self._is_over:
                    return
            try:
                if not lines:
                    self._target.finish(is_done=self._is_done)
                    return
                self._target.send(lines)
            except (ReelspaceError, OSError) as error:
                self._tell(error)
                self._pause(is_closing)
                continue
            with self._changed:
                # `close` may have given up on them meanwhile.
                for _ in range(min(len(lines), len(self._lines))):
                    self._lines.popleft()

    def _pause(self, was_closing: bool) -> None:
        """Wait before the next try; whoever closes wants it sooner."""
        patience_s = min(self._retry_s, _HURRY_S) if was_closing else self._retry_s
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._is_closing != was_closing, patience_s)

    def _tell(self, error: Exception) -> None:
        if not self._is_told:
            self._is_told = True
            log("figures_waiting", sink=self._name, reason=str(error), then="the training goes on; tried again until its end")


@contextmanager
def closing(sinks: Sequence[Sink]) -> Iterator[None]:
    """Close the sinks when the block ends, however it ends."""
    is_done = False
    try:
        yield
        is_done = True
    finally:
        for sink in sinks:
            sink.close(is_done=is_done)
