"""Checkpoints of a run: the engine's files under a manifest with every file's hash, visible only when whole.

checkpoints/step-<8 digits>/{manifest.json, train_log.jsonl, the engine's files}. A checkpoint is written beside, brought to the disk
and appears by one rename; a resume takes the newest whose every byte verifies, and says in one line which it passed over. Files that
others put there (DeepSpeed's own `latest` among them) say nothing to it.
"""

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from reelspace.core.errors import DiskFull, TemporaryError, UserError
from reelspace.core.log import log
from reelspace.train.checkpoint_manifest import MANIFEST_FILE, CheckpointManifest, damage, digests, read_manifest, synced, write_manifest
from reelspace.train.engine import Engine
from reelspace.train.fingerprint import Fingerprint, differences
from reelspace.train.group import Group
from reelspace.train.pickles import foreign_names

_PATTERN = "step-*"
# torch wraps the system's error and drops its number.
_TORCH_WRITE_FAILED = ("PytorchStreamWriter failed", "iostream error", "unexpected pos")


@dataclass(frozen=True, slots=True)
class Resume:
    """A whole checkpoint: where it lies and what it says."""

    directory: Path
    facts: CheckpointManifest


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of one run directory; `unfinished` is a directory of the same file system where they are written first.

    Of machines that share no disk each has a run directory, with its own files of a checkpoint under the manifest of all machines' files.
    `fingerprint` says by name what the weights depend on. The newest `keep` stay, and with `keep_best` the one of the lowest loss.
    """

    root: Path
    unfinished: Path
    group: Group
    fingerprint: Fingerprint = field(default_factory=dict)
    keep: int = 2
    keep_best: bool = True

    def save(self, engine: Engine, step: int, train_log: Path, num_skipped: int = 0) -> None:
        """Write a checkpoint of `step` finished steps with a copy of the log up to there; every process calls it."""
        unfinished = self.unfinished / _name(step)
        if self.group.is_writer:
            # With what a killed training left there.
            shutil.rmtree(self.unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
        self.group.barrier()
        _save(engine, unfinished)
        self.group.barrier()
        if self.group.rank == 0:
            shutil.copyfile(train_log, unfinished / train_log.name)
        files, loss = self._written(unfinished, train_log, step)
        if self.group.is_writer:
            write_manifest(
                unfinished,
                CheckpointManifest(
                    step=step,
                    data_cursor=step,
                    world_size=self.group.world_size,
                    layout=engine.layout,
                    fingerprint=self.fingerprint,
                    num_skipped=num_skipped,
                    loss=loss,
                    files=files,
                ),
            )
            self._publish(unfinished, step)
            self._drop_old(step)
        self.group.barrier()

    def newest(self, engine: Engine) -> Resume | None:
        """Give the newest whole checkpoint, the same one to all processes.

        Raises:
            UserError: it was written by a training on other data or settings, by a later version of the program, with an engine or
                number of processes that this one cannot take up, or a file of it would run code when read.
            TemporaryError: the machines share no disk, and one has not the whole of it.
        """
        step = self.group.from_first(self._newest_step() if self.group.rank == 0 else None)
        if step is None:
            return None
        place = self.root / _name(step)
        if self.group.is_apart and self.group.is_writer:
            _check_here(place)
        facts = read_manifest(place)
        problem = engine.refusal(facts.layout)
        other = differences(facts.fingerprint, self.fingerprint)
        if problem is None and other:
            problem = f"is of a training with other data or settings ({other})"
        if problem:
            raise UserError(f"checkpoint {place}, after {step} steps, {problem}: go on as it began, or start in an empty run directory")
        return Resume(place, facts)

    def _written(self, unfinished: Path, train_log: Path, step: int) -> tuple[dict[str, str], float | None]:
        """Give the hashes of the files on all disks, and the mean loss, which only the first process can read."""
        loss = _mean_loss(train_log, self._step_before(step)) if self.group.rank == 0 else None
        files = digests(unfinished) if self.group.is_writer else {}
        if not self.group.is_apart:
            return files, loss
        parts = self.group.from_all((files, loss))
        return {name: digest for part, _ in parts for name, digest in part.items()}, parts[0][1]

    def _newest_step(self) -> int | None:
        for directory in self._present(reverse=True):
            try:
                facts = read_manifest(directory)
                problem = damage(directory, facts)
            except (OSError, ValueError) as error:
                problem = f"its manifest does not read: {error}"
            if problem:
                log("checkpoint_passed_over", checkpoint=directory.name, reason=problem)
                continue
            _check_names(directory)
            return facts.step
        return None

    def _publish(self, unfinished: Path, step: int) -> None:
        final = self.root / _name(step)
        self.root.mkdir(parents=True, exist_ok=True)
        if final.exists():
            # A damaged one, which the resume passed over.
            self._remove(final)
        os.rename(unfinished, final)
        synced(self.root)

    def _drop_old(self, step: int) -> None:
        """Keep the newest and the best; what lies beyond this step was passed over by the resume that led here."""
        present = [directory for directory in self._present() if directory.name <= _name(step)]
        kept = {directory.name for directory in present[-self.keep :]}
        losses = {directory.name: loss for directory in present if (loss := _loss_of(directory)) is not None}
        if self.keep_best and losses:
            kept.add(min(reversed(losses), key=losses.__getitem__))
        for directory in self._present():
            if directory.name not in kept:
                self._remove(directory)

    def _remove(self, directory: Path) -> None:
        # At once for those who read along; a half removed one would look damaged.
        gone = self.unfinished / f"dropped-{directory.name}"
        os.rename(directory, gone)
        shutil.rmtree(gone)

    def _step_before(self, step: int) -> int:
        earlier = [int(directory.name.rpartition("-")[2]) for directory in self._present() if directory.name < _name(step)]
        return max(earlier, default=0)

    def _present(self, *, reverse: bool = False) -> list[Path]:
        return sorted((path for path in self.root.glob(_PATTERN) if _is_name(path.name)), reverse=reverse)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _is_name(name: str) -> bool:
    digits = name.removeprefix("step-")
    return digits.isdecimal() and name == _name(int(digits))


def _check_here(directory: Path) -> None:
    """See that a machine has all files of the checkpoint that the first one chose."""
    if not (directory / MANIFEST_FILE).is_file() or not all((directory / name).is_file() for name in read_manifest(directory).files):
        raise TemporaryError(f"checkpoint {directory} is not whole on this machine, the first one goes on from it; run again")
    _check_names(directory)


def _check_names(directory: Path) -> None:
    foreign = foreign_names(directory)
    if foreign:
        raise UserError(f"checkpoint {directory}: {foreign}, which no training writes: it is not read; delete it if it is not yours")


def _save(engine: Engine, directory: Path) -> None:
    try:
        engine.save(directory)
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _TORCH_WRITE_FAILED):
            raise
        raise DiskFull(f"no checkpoint could be written to {directory}; free space and run again to go on from the one before") from error


def _mean_loss(train_log: Path, after: int) -> float | None:
    """Give the mean of the losses logged after a step; None if there is none, or one of them is not finite (null in the log)."""
    rows = [json.loads(line) for line in train_log.read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["step"] > after]
    return fmean(losses) if losses and None not in losses else None


def _loss_of(directory: Path) -> float | None:
    try:
        return read_manifest(directory).loss
    except (OSError, ValueError, UserError):
        return None
