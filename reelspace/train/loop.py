"""The training loop: batches in, steps of the engine, a log line now and then, checkpoints, and a clean stop on SIGTERM."""

import json
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from reelspace.core.errors import TemporaryError, UserError
from reelspace.core.log import log
from reelspace.core.progress import progress
from reelspace.train.batches import Batch
from reelspace.train.checkpoints import Checkpoints
from reelspace.train.engine import Engine, StepResult
from reelspace.train.group import Group
from reelspace.train.heartbeat import beat
from reelspace.train.schedule import learning_rate
from reelspace.train.settings import RunSettings

MAX_SKIPPED_IN_A_ROW = 20
LOG_FILE = "train_log.jsonl"

MakeBatch = Callable[[int], Batch]


@dataclass(frozen=True, slots=True)
class Loop:
    """One process's part in one training."""

    engine: Engine
    make_batch: MakeBatch
    settings: RunSettings
    run: Path
    group: Group

    def fit(self) -> None:
        """Train from the newest whole checkpoint to the last step.

        Raises:
            TemporaryError: SIGTERM came; what was done is saved, run again to go on.
            UserError: too many steps in a row had no finite loss.
        """
        checkpoints = Checkpoints(self.run / "checkpoints", self.group)
        stop = _StopFlag()
        first = self._resume(checkpoints)
        journal = _Journal(self.run / LOG_FILE, first) if self.group.rank == 0 else None
        skipped, started, num_skipped = 0, time.monotonic(), 0
        with progress(self.settings.steps - first, "train") if journal else _silent() as bar:
            for step in range(first, self.settings.steps):
                beat(self.run, self.group.rank)
                rate = learning_rate(step, self.settings.steps, self.settings.optimizer)
                result = self.engine.step(self.make_batch(step), rate)
                skipped = self._count_skipped(result, skipped, step)
                num_skipped += result.is_skipped
                done = step + 1
                if journal:
                    per_s = (done - first) * self.settings.batch_size / (time.monotonic() - started)
                    if done % self.settings.log_every == 0 or done == self.settings.steps:
                        journal.write(done, {**result.figures, "learning_rate": rate, "samples_per_s": per_s, "skipped": num_skipped})
                    bar.advance(1, loss=round(result.figures["loss"], 4), samples_per_s=round(per_s, 1))
                if self.group.any(stop.is_set) and done < self.settings.steps:
                    checkpoints.save(self.engine, done)
                    raise TemporaryError(f"stopped by SIGTERM after step {done} of {self.settings.steps}; saved, run again to go on")
                if done % self.settings.checkpoint_every == 0 and done < self.settings.steps:
                    checkpoints.save(self.engine, done)

    def _resume(self, checkpoints: Checkpoints) -> int:
        found = checkpoints.newest(self.engine.layout)
        if found is None:
            return 0
        step, directory = found
        self.engine.load(directory)
        log("resumed", step=step, rank=self.group.rank)
        return step

    def _count_skipped(self, result: StepResult, before: int, step: int) -> int:
        in_a_row = before + 1 if result.is_skipped else 0
        if result.is_skipped:
            log("step_skipped", step=step, loss=result.figures["loss"])
        if in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise UserError(f"{in_a_row} steps in a row up to step {step} had no finite loss or gradient; lower the learning rate")
        return in_a_row


class _StopFlag:
    """Set by SIGTERM from then on."""

    def __init__(self) -> None:
        self.is_set = False
        signal.signal(signal.SIGTERM, self._set)

    def _set(self, _number: int, _frame: FrameType | None) -> None:
        self.is_set = True


class _Journal:
    """train_log.jsonl; lines after the step that a resume starts from are dropped, so that each step is told once."""

    def __init__(self, path: Path, first: int) -> None:
        self._path = path
        kept = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= first] if path.exists() else []
        path.write_text("".join(line + "\n" for line in kept))

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **{name: round(float(value), 6) for name, value in figures.items()}}) + "\n")


class _silent:
    """Progress of the processes that show none."""

    def __enter__(self) -> "_silent":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def advance(self, n: int = 1, **figures: object) -> None:
        """Say nothing."""
