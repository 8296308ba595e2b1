"""What a step leaves in the store under `runs/`: the record others read instead of an exit status that runners swallow.

runs/<key>/outputs.json                 {key, outputs: {output: artifact id}}: written once the outputs are whole; a later run reuses them
runs/<key>/_FAILED                      the error that this key must meet again, so that a retry ends at once
runs/<key>/exit.json                    {step, key, exit_code, error, message} of the last try; absent while one runs or was killed
runs/journal/<run id>/<step>.json       the same with what was reused, seconds and outputs, for one run of a pipeline

A record that cannot be read, or is another key's, counts as absent: the step runs again and writes it anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reelspace.core import errors
from reelspace.core.artifacts import Artifact, canonical_json, is_artifact_id, open_artifact
from reelspace.core.errors import ArtifactMissing, CorruptArtifact, ReelspaceError, UserError
from reelspace.core.log import log
from reelspace.core.store import Store


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one try of a step ended; `error` is the class name, both texts empty when it succeeded."""

    exit_code: int
    error: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the outputs of a step key are made of, as their manifests say it."""

    parents: Sequence[str]
    code: str
    settings: Mapping[str, object]

    def check(self, name: str, artifact: Artifact) -> None:
        """Refuse an artifact that another step, or this one under another key, has made; CorruptArtifact names what differs."""
        manifest = artifact.manifest
        pairs = {
            "kind": (manifest.kind, name),
            "parents": (list(manifest.parents), sorted(set(self.parents))),
            "code": (manifest.code, self.code),
            "settings": (canonical_json(manifest.settings), canonical_json(self.settings)),
        }
        differ = [what for what, (found, expected) in pairs.items() if found != expected]
        if differ:
            raise CorruptArtifact(f"output {name!r} is recorded as artifact {artifact.id}, which is of other {' and '.join(differ)}")


@dataclass(frozen=True, slots=True)
class StepRecords:
    """The records of one step key."""

    store: Store
    step: str
    key: str

    def begin(self) -> None:
        """Forget how the last try ended: a killed one must not look like a finished one."""
        self.store.delete(self._path("exit.json"))

    def outputs(self, names: Sequence[str], origin: Origin) -> dict[str, Artifact] | None:
        """Give the outputs an earlier run recorded, origin and every byte checked, or None if one is missing, damaged or another's."""
        ids = self.recorded_outputs()
        if ids is None or set(ids) != set(names):
            return None
        try:
            artifacts = {name: open_artifact(self.store, ids[name]) for name in names}
            for name, artifact in artifacts.items():
                origin.check(name, artifact)
                artifact.verify()
        except (ArtifactMissing, CorruptArtifact) as error:
            log("outputs_not_reusable", step=self.step, key=self.key, reason=str(error))
            return None
        return artifacts

    def record_outputs(self, outputs: Mapping[str, Artifact]) -> None:
        """Let later runs with this key reuse the outputs."""
        self._write("outputs.json", {"key": self.key, "outputs": {name: artifact.id for name, artifact in outputs.items()}})

    def recorded_outputs(self) -> dict[str, str] | None:
        """Give the recorded artifact ids by output, whether they are whole or not; None where there is no record of this key."""
        record = self.read("outputs.json") or {}
        ids = record.get("outputs")
        if record.get("key") != self.key or not isinstance(ids, dict) or not all(map(is_artifact_id, ids.values())):
            return None
        return ids

    def raise_known_failure(self, places: Sequence[str]) -> None:
        """Raise again the error that this key, with these places, has already met."""
        record = self.read("_FAILED")
        if record is None or record.get("key") != self.key or record.get("places") != list(places):
            return
        log("step_failed_before", step=self.step, key=self.key, marker=self._path("_FAILED"))
        raise _error_class(str(record.get("error")))(record.get("message", ""))

    def record_failure(self, error: ReelspaceError, places: Sequence[str]) -> None:
        """Let a retry of a permanent error end at once."""
        self._write("_FAILED", {"key": self.key, "error": type(error).__name__, "message": str(error), "places": list(places)})

    def record_exit(self, outcome: Outcome) -> None:
        """Write how this try ended."""
        record = {"step": self.step, "key": self.key}
        self._write("exit.json", {**record, "exit_code": outcome.exit_code, "error": outcome.error, "message": outcome.message})

    def read(self, name: str) -> dict[str, Any] | None:
        """Read a record; None if it is absent or cannot be read."""
        path = self._path(name)
        try:
            record = json.loads(self.store.get(path))
        except ArtifactMissing:
            return None
        except ValueError as error:
            log("record_not_readable", step=self.step, key=self.key, record=path, reason=str(error))
            return None
        return record if isinstance(record, dict) else None

    def _path(self, name: str) -> str:
        return f"runs/{self.key}/{name}"

    def _write(self, name: str, value: Mapping[str, object]) -> None:
        self.store.put(self._path(name), json.dumps(dict(value), ensure_ascii=False, indent=1).encode())


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One step of one run of a pipeline."""

    step: str
    key: str
    exit_code: int
    error: str
    message: str
    reused: bool
    wall_seconds: float
    outputs: Mapping[str, str]


def write_journal(store: Store, run_id: str, entry: JournalEntry) -> None:
    """Write what a step of a run did; a retry of the step replaces it."""
    record = {name: getattr(entry, name) for name in JournalEntry.__slots__}
    data = json.dumps({**record, "outputs": dict(entry.outputs)}, ensure_ascii=False, indent=1)
    store.put(f"runs/journal/{run_id}/{entry.step}.json", data.encode())


def read_journal(store: Store, run_id: str) -> dict[str, JournalEntry]:
    """Give the steps of a run that have ended, by name."""
    entries = [JournalEntry(**json.loads(store.get(key))) for key in store.list(f"runs/journal/{run_id}/")]
    return {entry.step: entry for entry in entries}


def _error_class(name: str) -> type[ReelspaceError]:
    found = getattr(errors, name, UserError)
    return found if isinstance(found, type) and issubclass(found, ReelspaceError) else UserError
