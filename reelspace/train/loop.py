"""The training loop: batches in, steps of the engine, a log line now and then, checkpoints, and a clean stop on SIGTERM."""

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from reelspace.core.errors import TemporaryError, UserError
from reelspace.core.log import log
from reelspace.core.progress import Progress, progress
from reelspace.train.batches import Batch
from reelspace.train.checkpoints import Checkpoints
from reelspace.train.engine import Engine, StepResult
from reelspace.train.group import Group
from reelspace.train.heartbeat import beat, beating
from reelspace.train.schedule import learning_rate
from reelspace.train.settings import RunSettings
from reelspace.train.sinks import Sink, closing
from reelspace.train.train_log import TrainLog

MAX_SKIPPED_IN_A_ROW = 20
_MAX_NAMED = 8
_NUM_RECENT = 20
_SAVE_LIMIT_S = 1800.0

MakeBatch = Callable[[int], Batch]
Report = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True, slots=True)
class LoopPlace:
    """Where a process writes: signs of life under its name on this machine, the log, the checkpoints of the run, and other sinks."""

    records: Path
    local_rank: int
    train_log: TrainLog
    checkpoints: Checkpoints
    sinks: Sequence[Sink] = ()


@dataclass
class Loop:
    """One process's part in one training; `report` is called with the figures of every logged step."""

    engine: Engine
    make_batch: MakeBatch
    settings: RunSettings
    group: Group
    place: LoopPlace
    report: Report = lambda _step, _figures: None
    num_skipped: int = 0
    _num_in_a_row: int = 0
    _pace: "_Pace" = field(default_factory=lambda: _Pace())

    def fit(self) -> None:
        """Train from the newest whole checkpoint to the last step.

        Raises:
            TemporaryError: SIGTERM came; what was done is saved, run again to go on.
            UserError: too many steps in a row had no finite loss, or the checkpoint is not of this training.
        """
        num_steps = self.settings.steps
        with _stop_flag() as stop, closing(self.place.sinks):
            with beating(self.place.records, self.place.local_rank, _SAVE_LIMIT_S):
                first = self._resume()
            with _shown(num_steps, first, is_shown=self.group.rank == 0) as bar:
                for step in range(first, num_steps):
                    self._step(step, bar)
                    done = step + 1
                    must_stop = self.group.any(stop.is_set) and done < num_steps
                    if must_stop or (done % self.settings.checkpoint_every == 0 and done < num_steps):
                        self._save(done)
                    if must_stop:
                        raise TemporaryError(f"stopped by SIGTERM after step {done} of {num_steps}; saved, run again to go on")

    def _step(self, step: int, bar: Progress) -> None:
        beat(self.place.records, self.place.local_rank)
        rate = learning_rate(step, self.settings.steps, self.settings.optimizer)
        done = step + 1
        is_logged = done % self.settings.log_every == 0 or done == self.settings.steps
        batch = self._pace.waited(lambda: self.make_batch(step))
        result = self.engine.step(batch, rate, measure=is_logged)
        self._count_skipped(result, batch)
        self._pace.add(self.settings.batch_size)
        if is_logged:
            share, per_s = self._pace.wait_share(), self._pace.take()
            figures = {**result.figures, "learning_rate": rate, "samples_per_s": per_s, "data_wait_share": share}
            figures["num_skipped"] = self.num_skipped
            self.place.train_log.write(done, figures)
            for sink in self.place.sinks:
                sink.write(done, figures)
            self.report(done, figures)
        bar.advance(1, **self._shown_figures(result, rate))

    def _shown_figures(self, result: StepResult, rate: float) -> dict[str, object]:
        """Give what is shown of a step: the loss and its parts, and what tells whether it goes well and fast."""
        losses = {name: round(value, 4) for name, value in result.figures.items() if name.startswith("loss")}
        per_s = self._pace.now()
        pace = {} if per_s is None else {"samples_per_s": round(per_s, 1)}
        skipped = {"num_skipped": self.num_skipped} if self.num_skipped else {}
        return {**pace, **losses, "learning_rate": float(f"{rate:.3g}"), **skipped}

    def _save(self, done: int) -> None:
        with beating(self.place.records, self.place.local_rank, _SAVE_LIMIT_S):
            self.place.checkpoints.save(self.engine, done, self.place.train_log.path, self.num_skipped)

    def _resume(self) -> int:
        found = self.place.checkpoints.newest(self.engine)
        self.place.train_log.begin(None if found is None else found.directory)
        if found is None:
            return 0
        self.engine.load(found.directory, found.facts.layout)
        self.num_skipped = found.facts.num_skipped
        log("resumed", step=found.facts.step, rank=self.group.rank)
        return found.facts.step

    def _count_skipped(self, result: StepResult, batch: Batch) -> None:
        self._num_in_a_row = self._num_in_a_row + 1 if result.is_skipped else 0
        self.num_skipped += result.is_skipped
        if result.is_skipped:
            # By every process: only together do they name the whole batch.
            reason = f"the loss ({result.figures['loss']}) or its gradient is not finite"
            works = batch.ids_B[:_MAX_NAMED].tolist()
            log("step_skipped", step=batch.step, rank=self.group.rank, works=works, num_works=len(batch.ids_B), reason=reason)
        if self._num_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise UserError(
                f"{self._num_in_a_row} steps in a row, up to step {batch.step}, had no finite loss or gradient: "
                f"lower optimizer.learning_rate ({self.settings.optimizer.learning_rate:g}) or look at the works of these batches"
            )


@dataclass
class _Pace:
    """Works per second: since the last logged step, and over the last steps; and how long was waited for them."""

    _num_works: int = 0
    _waited_s: float = 0.0
    _since_s: float = field(default_factory=time.monotonic)
    _recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_NUM_RECENT))

    def add(self, num_works: int) -> None:
        self._num_works += num_works
        self._recent.append((time.monotonic(), num_works))

    def take(self) -> float:
        now_s = time.monotonic()
        per_s = self._num_works / max(now_s - self._since_s, 1e-9)
        self._num_works, self._waited_s, self._since_s = 0, 0.0, now_s
        return per_s

    def waited(self, make_batch: Callable[[], Batch]) -> Batch:
        asked_s = time.monotonic()
        batch = make_batch()
        self._waited_s += time.monotonic() - asked_s
        return batch

    def wait_share(self) -> float:
        """Give the share of the time since the last logged step that passed in waiting for batches."""
        return self._waited_s / max(time.monotonic() - self._since_s, 1e-9)

    def now(self) -> float | None:
        """Give the pace over the last steps; the first of them only starts the clock, None where it is alone."""
        if len(self._recent) < 2:
            return None
        first_s, num_first = self._recent[0]
        num_works = sum(num for _, num in self._recent) - num_first
        return num_works / max(self._recent[-1][0] - first_s, 1e-9)


@dataclass
class _StopFlag:
    is_set: bool = False

    def raise_flag(self, _number: int, _frame: FrameType | None) -> None:
        self.is_set = True


@contextmanager
def _stop_flag() -> Iterator[_StopFlag]:
    """Give a flag that SIGTERM sets while the block runs."""
    flag = _StopFlag()
    before = signal.signal(signal.SIGTERM, flag.raise_flag)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _shown(num_steps: int, first: int, *, is_shown: bool) -> Iterator[Progress]:
    """Show the progress of one process among all."""
    if not is_shown:
        yield _Silence()
        return
    with progress(num_steps, "train", done=first) as bar:
        yield bar


class _Silence:
    def advance(self, n: int = 1, **figures: object) -> None:
        """Say nothing."""
