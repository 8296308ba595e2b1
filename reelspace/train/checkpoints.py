"""Checkpoints of a run: the engine's files under a manifest with every file's hash, visible only when whole.

checkpoints/step-<8 digits>/{manifest.json, the engine's files}. A checkpoint appears by one rename; a resume takes the newest whose every
byte verifies, and says in one line which it passed over.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from reelspace.core.log import log
from reelspace.train.engine import Engine
from reelspace.train.group import Group

_MANIFEST = "manifest.json"
_KEEP = 2


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """What a checkpoint says of itself: optimizer steps done (also the data cursor), and how its files are laid out."""

    step: int
    layout: str
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of one run directory."""

    root: Path
    group: Group

    def save(self, engine: Engine, step: int) -> None:
        """Write a checkpoint of `step` finished steps; every process calls it."""
        unfinished, final = self.root / f".unfinished-{step:08d}", self._place(step)
        if self.group.rank == 0:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
        self.group.barrier()
        engine.save(unfinished)
        self.group.barrier()
        if self.group.rank == 0:
            facts = CheckpointFacts(
                step, engine.layout, {path.relative_to(unfinished).as_posix(): _sha256(path) for path in _files(unfinished)}
            )
            _write_durably(unfinished / _MANIFEST, json.dumps(asdict(facts), indent=1).encode())
            shutil.rmtree(final, ignore_errors=True)
            os.rename(unfinished, final)
            self._drop_old()
        self.group.barrier()

    def newest(self, layout: str) -> tuple[int, Path] | None:
        """Give the newest whole checkpoint of the layout, the same one to all processes: its step and directory."""
        found = self.group.from_first(self._newest_step(layout) if self.group.rank == 0 else None)
        return None if found is None else (found, self._place(found))

    def _newest_step(self, layout: str) -> int | None:
        for directory in sorted(self.root.glob("step-*"), reverse=True):
            facts, problem = _verified(directory)
            if facts is not None and facts.layout != layout:
                problem = f"it was written as {facts.layout}, this training runs as {layout}"
            if facts is not None and not problem:
                return facts.step
            log("checkpoint_passed_over", checkpoint=directory.name, reason=problem)
        return None

    def _drop_old(self) -> None:
        for directory in sorted(self.root.glob("step-*"))[:-_KEEP]:
            shutil.rmtree(directory)

    def _place(self, step: int) -> Path:
        return self.root / f"step-{step:08d}"


def _verified(directory: Path) -> tuple[CheckpointFacts | None, str]:
    """Read the manifest and check every byte; gives what is wrong instead."""
    try:
        facts = CheckpointFacts(**json.loads((directory / _MANIFEST).read_bytes()))
    except (FileNotFoundError, ValueError, TypeError) as error:
        return None, f"its manifest does not read: {error}"
    for name, digest in facts.files.items():
        path = directory / name
        if not path.is_file():
            return None, f"{name} is gone"
        if _sha256(path) != digest:
            return None, f"{name} is damaged"
    return facts, ""


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
