"""Signs of life: every process touches its file each step; the launcher ends a training in which one has fallen silent."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# A frozen process shall end its training within a minute, the killing of all processes included.
SILENT_S = 45.0
START_S = 300.0
_INTERVAL_S = 1.0


def beat(records: Path, rank: int) -> None:
    """Say that this process is alive."""
    (records / f"heartbeat-{rank}").touch()


@contextmanager
def beating(records: Path, rank: int, limit_s: float) -> Iterator[None]:
    """Keep saying so while the block does one long thing (reads data, saves), for `limit_s` seconds at most."""
    done = threading.Event()
    deadline_s = time.monotonic() + limit_s

    def keep_beating() -> None:
        while time.monotonic() < deadline_s:
            try:
                beat(records, rank)
            except OSError:
                # The block itself will meet what is wrong with the disk, and say so.
                return
            if done.wait(_INTERVAL_S):
                return

    thread = threading.Thread(target=keep_beating, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class Watch:
    """Watches the processes of one launch by the changes of their files; a jump of the wall clock does not matter.

    Args:
        silent_s: seconds without a sign after which a process counts as silent; before its first sign it has START_S.
        clock: rising seconds.
    """

    def __init__(self, records: Path, num_processes: int, silent_s: float = SILENT_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = [records / f"heartbeat-{rank}" for rank in range(num_processes)]
        self._silent_s = silent_s
        self._clock = clock
        self._marks: list[int | None] = [None] * num_processes
        self._heard_s = [clock()] * num_processes

    def silent_ranks(self) -> tuple[int, ...]:
        """Give the processes that have been silent too long, the one silent for longest first."""
        now_s = self._clock()
        for rank, file in enumerate(self._files):
            mark = file.stat().st_mtime_ns if file.exists() else None
            if mark != self._marks[rank]:
                self._marks[rank], self._heard_s[rank] = mark, now_s
        patience_s = [START_S if mark is None else self._silent_s for mark in self._marks]
        silent = [rank for rank, heard_s in enumerate(self._heard_s) if now_s - heard_s > patience_s[rank]]
        return tuple(sorted(silent, key=lambda rank: self._heard_s[rank]))

    def complaint(self, silent: Sequence[int]) -> str:
        """Say of silent processes for how long they were, those first that never gave a sign."""
        kinds = {
            f"did not start within {START_S:.0f} s": [rank for rank in silent if self._marks[rank] is None],
            f"gave no sign of life for {self._silent_s:.0f} s": [rank for rank in silent if self._marks[rank] is not None],
        }
        return ", ".join(f"process {' and '.join(map(str, ranks))} {what}" for what, ranks in kinds.items() if ranks)
