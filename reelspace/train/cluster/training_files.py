"""What the machines of one training and the step that started them tell each other through the store.

runs/<key>/state/training/
    job.json                a StoredJob
    checkpoints.json        {checkpoint: {path: SHA-256}}: those of which every file lies in blobs/
    blobs/<SHA-256>         files of checkpoints
    endings/machine-<n>     how machine n ended last: {exit_code, error, message, at_s}; absent while it works or was killed
    outputs.json            {name: SHA-256}: written once the trained model is whole
    outputs/<name>

It is below the state of the step, so it goes when the step is done.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reelspace.core.errors import ArtifactMissing, CorruptArtifact
from reelspace.core.keys import checked_key
from reelspace.core.settings import read
from reelspace.core.store import Store
from reelspace.train.checkpoint_manifest import sha256_of
from reelspace.train.cluster.stored_job import StoredJob
from reelspace.train.roster import Ending

Listed = dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class TrainingFiles:
    """The files of the training under one step key."""

    store: Store
    key: str

    def write_job(self, job: StoredJob) -> None:
        """Say what is trained."""
        self.store.put(self._path("job.json"), job.model_dump_json().encode())

    def read_job(self) -> StoredJob:
        """Read what is trained.

        Raises:
            ArtifactMissing: no step has begun a training under this key.
        """
        try:
            text = self.store.get(self._path("job.json"))
        except ArtifactMissing as error:
            raise ArtifactMissing(
                f"no training under the key {self.key[:12]} in {self.store.url}; the step that starts it has ended"
            ) from error
        return read(StoredJob, text.decode())

    def checkpoints(self) -> Listed:
        """Give the files of the checkpoints that are whole in the store."""
        return self._read("checkpoints.json") or {}

    def list_checkpoints(self, listed: Mapping[str, Mapping[str, str]]) -> None:
        """Say which checkpoints are whole."""
        self._write("checkpoints.json", listed)

    def blob(self, sha256: str) -> str:
        """Give the key of a checkpoint's file."""
        return self._path(f"blobs/{sha256}")

    def fetch(self, key: str, sha256: str, target: Path) -> None:
        """Copy an object to a file.

        Raises:
            ArtifactMissing: it is gone.
            CorruptArtifact: its bytes have another hash; there is no file then.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with target.open("wb") as file:
            for chunk in self.store.stream(key):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != sha256:
            target.unlink()
            raise CorruptArtifact(f"{key} in {self.store.url} is corrupt: its SHA-256 is not {sha256[:16]}...")

    def end(self, machine: int, ending: Ending) -> None:
        """Say how a machine ended."""
        self._write(f"endings/machine-{machine}", asdict(ending))

    def forget_ending(self, machine: int) -> None:
        """Begin: how it ended last is no longer true."""
        self.store.delete(self._path(f"endings/machine-{machine}"))

    def forget_endings_from(self, num_machines: int) -> None:
        """Forget the words of machines that an earlier training of the key had and this one has not."""
        for machine in self.endings():
            if machine >= num_machines:
                self.forget_ending(machine)

    def endings(self) -> dict[int, Ending]:
        """Give how the machines ended that have left word, by number."""
        found = {}
        for key in self.store.list(self._path("endings/")):
            try:
                found[int(key.rpartition("-")[2])] = Ending(**json.loads(self.store.get(key)))
            except ArtifactMissing:
                # It began anew meanwhile.
                continue
        return found

    def verdict(self) -> Ending | None:
        """Say how the training ended; None: nobody left word.

        A machine that met a wrong input or setting names the cause: the others then fail because they lost it.
        """
        told = [ending for _, ending in sorted(self.endings().items())]
        return next((ending for ending in told if ending.exit_code == 2), told[0] if told else None)

    def write_outputs(self, directory: Path) -> None:
        """Store the trained model, its list last."""
        files = {path.relative_to(directory).as_posix(): path for path in sorted(directory.rglob("*")) if path.is_file()}
        listed = {name: sha256_of(path) for name, path in files.items()}
        for name, path in files.items():
            self.store.put_file(self._path(f"outputs/{name}"), path, listed[name])
        self._write("outputs.json", listed)

    def has_outputs(self) -> bool:
        """Tell whether the trained model is whole in the store."""
        return self.store.exists(self._path("outputs.json"))

    def fetch_outputs(self, directory: Path) -> None:
        """Bring the trained model.

        Raises:
            ArtifactMissing, CorruptArtifact: a file is gone or damaged; the list then goes, so that the next try trains on.
        """
        try:
            for name, sha256 in (self._read("outputs.json") or {}).items():
                self.fetch(self._path(f"outputs/{name}"), sha256, directory / checked_key(name))
        except (ArtifactMissing, CorruptArtifact):
            shutil.rmtree(directory, ignore_errors=True)
            self.store.delete(self._path("outputs.json"))
            raise

    def _path(self, name: str) -> str:
        return f"runs/{self.key}/state/training/{name}"

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self._path(name)
        return dict(json.loads(self.store.get(path))) if self.store.exists(path) else None

    def _write(self, name: str, value: Mapping[str, object]) -> None:
        self.store.put(self._path(name), json.dumps(value, ensure_ascii=False).encode())
