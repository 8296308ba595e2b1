"""Batches made in the background, so that a step need not wait for the reading of its works."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from reelspace.train.batches import Batch

MakeBatch = Callable[[int], Batch]


class Prefetch:
    """Gives the batches of `make` by step, the next `num_ahead` of them made while the loop works on one.

    Steps are asked in their order from any step on; another step than the next one starts anew there. What goes wrong with a batch is
    raised when its step is asked for. Leaving the `with` block ends every thread, after the batches that are being made.

    Args:
        make: may be called from several threads.
        num_steps: steps of the training; no batch behind the last one is made.
        num_ahead: at most as many threads work; 0: batches are made when they are asked for, without a thread.
    """

    def __init__(self, make: MakeBatch, num_steps: int, num_ahead: int) -> None:
        self._make = make
        self._num_steps = num_steps
        self._num_ahead = num_ahead
        self._threads: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[int, Future[Batch]]] = deque()

    def __enter__(self) -> Self:
        if self._num_ahead:
            self._threads = ThreadPoolExecutor(self._num_ahead, thread_name_prefix="batches")
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._threads = None

    def __call__(self, step: int) -> Batch:
        """Give the batch of a step."""
        if self._threads is None:
            return self._make(step)
        if not self._waiting or self._waiting[0][0] != step:
            self._drop()
        first = self._waiting[-1][0] + 1 if self._waiting else step
        for ahead in range(first, min(step + self._num_ahead, self._num_steps - 1) + 1):
            self._waiting.append((ahead, self._threads.submit(self._make, ahead)))
        _, batch = self._waiting.popleft()
        return batch.result()

    def _drop(self) -> None:
        for _, batch in self._waiting:
            batch.cancel()
        self._waiting.clear()
