"""Progress of long work: a bar on a terminal, JSON lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from reelspace.core.log import log

_LINE_INTERVAL_S = 1.0


class Progress(Protocol):
    """Something that is told how far the work is."""

    def advance(self, n: int = 1, **figures: object) -> None:
        """Count n more items done; figures (a loss, a rate) are shown beside."""


@contextmanager
def progress(total: int, what: str, done: int = 0) -> Iterator[Progress]:
    """Show the progress of `total` items, of which `done` were done before, while the block runs."""
    if sys.stderr.isatty():
        with _bar(total, what, done) as bar:
            yield bar
        return
    lines = Lines(total, what, done=done)
    yield lines
    lines.close()


class Lines:
    """Progress as JSON lines, at most one per second, and one at the end; `left_s` is the time left at the pace so far."""

    def __init__(
        self,
        total: int,
        what: str,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[dict[str, object]], None] | None = None,
        done: int = 0,
    ) -> None:
        self._total = total
        self._what = what
        self._clock = clock
        self._write = write or (lambda fields: log("progress", **fields))
        self._start_s = clock()
        self._last_line_s = self._start_s
        self._num_before = self._num_done = done
        self._figures: dict[str, object] = {}

    def advance(self, n: int = 1, **figures: object) -> None:
        """Count n more items done."""
        self._num_done += n
        self._figures = figures
        if self._clock() - self._last_line_s >= _LINE_INTERVAL_S:
            self._line()

    def close(self) -> None:
        """Write the last line."""
        self._line()

    def _line(self) -> None:
        self._last_line_s = self._clock()
        seconds = round(self._last_line_s - self._start_s, 3)
        num_now, num_left = self._num_done - self._num_before, self._total - self._num_done
        left = {"left_s": round(seconds / num_now * num_left, 1)} if num_now and num_left > 0 else {}
        self._write({"what": self._what, "done": self._num_done, "total": self._total, "seconds": seconds, **left, **self._figures})


@contextmanager
def _bar(total: int, what: str, done: int) -> Iterator[Progress]:
    # rich takes longer to load than most commands run; only a terminal needs it.
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Shown(RichProgress):
        def get_renderables(self) -> Iterator[RenderableType]:
            # The figures below: beside the bar they would leave no room for it.
            yield self.make_tasks_table(self.tasks)
            yield from (Text(task.fields["figures"], style="dim") for task in self.tasks if task.fields["figures"])

    class Bar:
        def __init__(self, rich: RichProgress, task: TaskID) -> None:
            self._rich = rich
            self._task = task

        def advance(self, n: int = 1, **figures: object) -> None:
            text = "  ".join(f"{name} {_short(value)}" for name, value in figures.items())
            self._rich.update(self._task, advance=n, figures=text)

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Shown(*columns, console=Console(stderr=True)) as rich:
        yield Bar(rich, rich.add_task(what, total=total, completed=done, figures=""))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
