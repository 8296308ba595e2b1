"""The resume directory of a step: what it has done so far, kept where the next try finds it."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from reelspace.core.errors import CorruptArtifact
from reelspace.core.local_store import LocalStore
from reelspace.core.store import Store


@dataclass(frozen=True, slots=True)
class StepState:
    """A directory tied to `runs/<key>/state`.

    In a local store the directory is that place. Elsewhere it is local: `restore` brings what `save` has put there, files named
    by their hash and one list of them written last, so that a save cut short leaves the one before.
    """

    store: Store
    key: str
    directory: Path

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
            data = self.store.get(self._blob(sha256))
            if hashlib.sha256(data).hexdigest() != sha256:
                where = f"run {self.key} in {self.store.url}"
                raise CorruptArtifact(f"saved state {path!r} of {where} is corrupt: delete runs/{self.key}/state")
            target = self.directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)

    def save(self) -> None:
        """Keep the directory's files for the next try; nothing to do in a local store."""
        if not self._is_remote():
            return
        before = set(self._saved().values())
        files = {path.relative_to(self.directory).as_posix(): path for path in self.directory.rglob("*") if path.is_file()}
        saved: dict[str, str] = {}
        for name, path in sorted(files.items()):
            with path.open("rb") as file:
                saved[name] = hashlib.file_digest(file, "sha256").hexdigest()
            if saved[name] not in before:
                self.store.put_file(self._blob(saved[name]), path)
        self.store.put(self._list_key(), json.dumps(saved).encode())
        for sha256 in before - set(saved.values()):
            self.store.delete(self._blob(sha256))

    def clear(self) -> None:
        """Forget everything: the step is done."""
        shutil.rmtree(self.directory, ignore_errors=True)
        if self._is_remote():
            for key in list(self.store.list(f"runs/{self.key}/state/")):
                self.store.delete(key)

    def _is_remote(self) -> bool:
        return not isinstance(self.store, LocalStore)

    def _saved(self) -> dict[str, str]:
        key = self._list_key()
        return dict(json.loads(self.store.get(key))) if self.store.exists(key) else {}

    def _list_key(self) -> str:
        return f"runs/{self.key}/state/files.json"

    def _blob(self, sha256: str) -> str:
        return f"runs/{self.key}/state/{sha256}"
