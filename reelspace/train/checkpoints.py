"""Checkpoints of a run: the engine's files under a manifest with every file's hash, visible only when whole.

checkpoints/step-<8 digits>/{manifest.json, train_log.jsonl, the engine's files}. A checkpoint is written beside and appears by one
rename; a resume takes the newest whose every byte verifies, and says in one line which it passed over.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from reelspace.core.errors import DiskFull, UserError
from reelspace.core.log import log
from reelspace.train.engine import Engine
from reelspace.train.group import Group

_MANIFEST = "manifest.json"
_KEEP = 2
# torch wraps the system's error and drops its number.
_TORCH_WRITE_FAILED = ("PytorchStreamWriter failed", "iostream error", "unexpected pos")


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """What a checkpoint says of itself.

    `step` optimizer steps are done and `data_cursor` batches consumed; `layout` is the engine's, `fingerprint` that of data, settings
    and tokenizer; `num_skipped` steps had no finite loss; `files` gives SHA-256 by path.
    """

    step: int
    data_cursor: int
    world_size: int
    layout: str
    fingerprint: str
    num_skipped: int
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class Resume:
    """A whole checkpoint: where it lies and what it says."""

    directory: Path
    facts: CheckpointFacts


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of one run directory; `unfinished` is a directory of the same file system where they are written first."""

    root: Path
    unfinished: Path
    group: Group
    fingerprint: str = ""

    def save(self, engine: Engine, step: int, train_log: Path, num_skipped: int = 0) -> None:
        """Write a checkpoint of `step` finished steps with a copy of the log up to there; every process calls it."""
        unfinished, final = self.unfinished / f"step-{step:08d}", self._place(step)
        if self.group.rank == 0:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
        self.group.barrier()
        _save(engine, unfinished)
        self.group.barrier()
        if self.group.rank == 0:
            shutil.copyfile(train_log, unfinished / train_log.name)
            files = {path.relative_to(unfinished).as_posix(): _sha256(path) for path in _files(unfinished)}
            facts = CheckpointFacts(step, step, self.group.world_size, engine.layout, self.fingerprint, num_skipped, files)
            _write_durably(unfinished / _MANIFEST, json.dumps(asdict(facts), indent=1).encode())
            self.root.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(final, ignore_errors=True)
            os.rename(unfinished, final)
            self._drop_old()
        self.group.barrier()

    def newest(self, engine: Engine) -> Resume | None:
        """Give the newest whole checkpoint, the same one to all processes.

        Raises:
            UserError: it was written by a training on other data or settings, or with another engine or number of processes.
        """
        step = self.group.from_first(self._newest_step() if self.group.rank == 0 else None)
        if step is None:
            return None
        facts = _read(self._place(step))
        problem = engine.refusal(facts.layout)
        if problem is None and facts.fingerprint != self.fingerprint:
            problem = "is of a training with other data or settings"
        if problem:
            raise UserError(f"checkpoint {self._place(step)} {problem}: go on as it began, or start in an empty run directory")
        return Resume(self._place(step), facts)

    def _newest_step(self) -> int | None:
        for directory in sorted(self.root.glob("step-*"), reverse=True):
            try:
                facts = _read(directory)
                problem = _damage(directory, facts)
            except (OSError, ValueError, TypeError) as error:
                problem = f"its manifest does not read: {error}"
            if not problem:
                return facts.step
            log("checkpoint_passed_over", checkpoint=directory.name, reason=problem)
        return None

    def _drop_old(self) -> None:
        for directory in sorted(self.root.glob("step-*"))[:-_KEEP]:
            shutil.rmtree(directory)

    def _place(self, step: int) -> Path:
        return self.root / f"step-{step:08d}"


def _save(engine: Engine, directory: Path) -> None:
    try:
        engine.save(directory)
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _TORCH_WRITE_FAILED):
            raise
        raise DiskFull(f"no checkpoint could be written to {directory}; free space and run again to go on from the one before") from error


def _read(directory: Path) -> CheckpointFacts:
    return CheckpointFacts(**json.loads((directory / _MANIFEST).read_bytes()))


def _damage(directory: Path, facts: CheckpointFacts) -> str:
    """Say what is wrong with the files of a checkpoint; nothing if all is well."""
    for name, digest in facts.files.items():
        path = directory / name
        if not path.is_file():
            return f"{name} is gone"
        if _sha256(path) != digest:
            return f"{name} is damaged"
    return ""


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.rglob("*")) if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
