"""Checkpoints of machines that share no disk: each brings its own files to the store, the first lists a checkpoint once all are there."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from reelspace.core.errors import ArtifactMissing, CorruptArtifact, SettingError, StoreUnavailable
from reelspace.core.log import log
from reelspace.train.checkpoint_manifest import MANIFEST_FILE, read_manifest, sha256_of
from reelspace.train.cluster.training_files import TrainingFiles
from reelspace.train.job import CHECKPOINTS

_POLL_S = 0.5
LAST_S = 30.0


@dataclass
class MachineCheckpoints:
    """What one machine has of the checkpoints of a training; `run` is its own run directory."""

    files: TrainingFiles
    run: Path
    machine: int
    _sent: set[str] = field(default_factory=set)
    """Checkpoints of which this machine's files lie in the store."""
    _is_failing: bool = False

    def restore(self) -> None:
        """Make the run directory hold the newest whole checkpoint of the store, and of earlier ones their manifests.

        A checkpoint that is damaged in the store is named and passed over.
        """
        root = self.run / CHECKPOINTS
        shutil.rmtree(root, ignore_errors=True)
        has_whole = False
        for name, listed in sorted(self.files.checkpoints().items(), reverse=True):
            wanted = {path: sha256 for path, sha256 in listed.items() if not has_whole or path == MANIFEST_FILE}
            try:
                for path, sha256 in wanted.items():
                    self.files.fetch(self.files.blob(sha256), sha256, root / name / path)
            except (ArtifactMissing, CorruptArtifact) as error:
                log("checkpoint_passed_over", checkpoint=name, reason=str(error))
                shutil.rmtree(root / name, ignore_errors=True)
                continue
            has_whole = True
            self._sent.add(name)

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Store the checkpoints that appear while the block runs."""
        is_over = threading.Event()
        thread = threading.Thread(target=self._follow, args=(is_over,), daemon=True, name="checkpoints")
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def store(self) -> str:
        """Bring this machine's files to the store and, on the first machine, list what is whole there; gives what stood against it.

        That is told once until a store succeeds again.
        """
        try:
            present = self._present()
            for name, wanted in present.items():
                self._send(name, wanted)
            missing = self._list(present) if self.machine == 0 else ""
        except (SettingError, StoreUnavailable) as error:
            if not self._is_failing:
                log("checkpoint_not_stored", reason=str(error), training="goes on", next_try="in a moment")
            self._is_failing = True
            return str(error)
        self._is_failing = False
        return missing

    def store_last(self, limit_s: float = LAST_S) -> str:
        """Store what is left once the training has ended; other machines have `limit_s` seconds to bring theirs."""
        deadline_s = time.monotonic() + limit_s
        while problem := self.store():
            if time.monotonic() > deadline_s:
                return problem
            time.sleep(_POLL_S)
        return ""

    def _follow(self, is_over: threading.Event) -> None:
        is_stored: tuple[str, ...] = ()
        while not is_over.wait(_POLL_S):
            names = tuple(path.name for path in self._directories())
            if names != is_stored:
                is_stored = () if self.store() else names

    def _directories(self) -> list[Path]:
        return sorted((self.run / CHECKPOINTS).glob("step-*"))

    def _present(self) -> dict[str, dict[str, str]]:
        """Give the files of every checkpoint here, those of other machines included."""
        found = {}
        for directory in self._directories():
            try:
                found[directory.name] = {**read_manifest(directory).files, MANIFEST_FILE: sha256_of(directory / MANIFEST_FILE)}
            except (OSError, ValueError):
                # The training has just dropped it.
                continue
        return found

    def _send(self, name: str, wanted: dict[str, str]) -> None:
        if name in self._sent:
            return
        for path, sha256 in wanted.items():
            file = self.run / CHECKPOINTS / name / path
            if not file.is_file() or (path == MANIFEST_FILE and self.machine):
                continue
            try:
                self.files.store.put_file(self.files.blob(sha256), file, sha256)
            except FileNotFoundError:
                return
            except CorruptArtifact as error:
                log("checkpoint_left_out", checkpoint=name, reason=str(error))
                break
        self._sent.add(name)

    def _list(self, present: dict[str, dict[str, str]]) -> str:
        before = self.files.checkpoints()
        whole = {name: listed for name, listed in present.items() if before.get(name) == listed or self._is_whole(listed)}
        if whole != before:
            self.files.list_checkpoints(whole)
            self._drop(before, present)
        missing = sorted(present.keys() - whole.keys())
        return f"other machines have not brought their files of {', '.join(missing)}" if missing else ""

    def _is_whole(self, listed: dict[str, str]) -> bool:
        return all(self.files.store.exists(self.files.blob(sha256)) for sha256 in listed.values())

    def _drop(self, before: dict[str, dict[str, str]], present: dict[str, dict[str, str]]) -> None:
        kept = {sha256 for listed in present.values() for sha256 in listed.values()}
        for sha256 in {sha256 for listed in before.values() for sha256 in listed.values()} - kept:
            self.files.store.delete(self.files.blob(sha256))
