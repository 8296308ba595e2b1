"""The resume directory of a step: what it has done so far, kept where the next try finds it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reelspace.core.errors import CorruptArtifact, SettingError, StoreUnavailable
from reelspace.core.local_store import LocalStore
from reelspace.core.log import log
from reelspace.core.store import Store


@dataclass(frozen=True, slots=True)
class StepState:
    """A directory tied to `runs/<key>/state`.

    In a local store the directory is that place. Elsewhere it is local: `restore` brings what `save` or `save_sets` has put there,
    files named by their hash and one list of them written last, so that a save cut short leaves the one before.
    """

    store: Store
    key: str
    directory: Path
    _sent: set[str] = field(default_factory=set)
    """Hashes of files that lie whole in the store, also those a save cut short has not listed yet."""

    @classmethod
    def of(cls, store: Store, key: str, work: Path) -> StepState:
        """Tie the state of a step key to a directory, below `work` unless the store is local."""
        return cls(store, key, store.root / "runs" / key / "state" if isinstance(store, LocalStore) else work / "state")

    def restore(self) -> None:
        """Make the directory hold what was saved last."""
        if not self._is_remote():
            self.directory.mkdir(parents=True, exist_ok=True)
            return
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        for path, sha256 in self._saved().items():
            target = self.directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256()
            with target.open("wb") as file:
                for chunk in self.store.stream(self._blob(sha256)):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != sha256:
                where = f"run {self.key} in {self.store.url}"
                raise CorruptArtifact(f"saved state {path!r} of {where} is corrupt: delete runs/{self.key}/state")

    def save(self) -> None:
        """Keep the directory's files for the next try; nothing to do in a local store."""
        if not self._is_remote():
            return
        before = self._saved()
        files = {path.relative_to(self.directory).as_posix(): path for path in self.directory.rglob("*") if path.is_file()}
        saved: dict[str, str] = {}
        for name, path in sorted(files.items()):
            with path.open("rb") as file:
                saved[name] = hashlib.file_digest(file, "sha256").hexdigest()
            self._send(name, saved[name], before)
        self._list(saved, before)

    def save_sets(self, sets: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
        """Keep sets of files whose hashes are known, and nothing else; nothing to do in a local store.

        Files are read once: the hash is compared while they are sent. A set of which a file is gone or differs is left out whole.

        Args:
            sets: name of a set -> path of a file -> its SHA-256.

        Returns:
            what is wrong with the sets left out, by name.
        """
        if not self._is_remote():
            return {}
        before, saved = self._saved(), dict[str, str]()
        problems: dict[str, str] = {}
        for name, files in sets.items():
            try:
                for path, sha256 in files.items():
                    self._send(path, sha256, before)
            except FileNotFoundError as error:
                problems[name] = f"{error.filename} is gone"
            except CorruptArtifact as error:
                problems[name] = str(error)
            else:
                saved |= files
        self._list(saved, before)
        return problems

    def clear(self) -> None:
        """Forget everything: the step is done."""
        shutil.rmtree(self.directory, ignore_errors=True)
        if self._is_remote():
            for key in list(self.store.list(f"runs/{self.key}/state/")):
                self.store.delete(key)

    def _send(self, path: str, sha256: str, before: Mapping[str, str]) -> None:
        if sha256 in self._sent or sha256 in before.values():
            return
        self.store.put_file(self._blob(sha256), self.directory / path, sha256)
        self._sent.add(sha256)

    def _list(self, saved: Mapping[str, str], before: Mapping[str, str]) -> None:
        """Make the files the state of the step; those that no longer belong to it go."""
        if saved != before:
            self.store.put(self._list_key(), json.dumps(saved).encode())
        for sha256 in (self._sent | set(before.values())) - set(saved.values()):
            self._sent.discard(sha256)
            try:
                self.store.delete(self._blob(sha256))
            except (SettingError, StoreUnavailable) as error:
                # What is kept is kept: a left over file is removed with the others when the step is done.
                log("state_not_dropped", key=self.key, sha256=sha256, reason=str(error))

    def _is_remote(self) -> bool:
        return not isinstance(self.store, LocalStore)

    def _saved(self) -> dict[str, str]:
        key = self._list_key()
        return dict(json.loads(self.store.get(key))) if self.store.exists(key) else {}

    def _list_key(self) -> str:
        return f"runs/{self.key}/state/files.json"

    def _blob(self, sha256: str) -> str:
        return f"runs/{self.key}/state/{sha256}"
