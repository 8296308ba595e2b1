"""What a step leaves in the store under `runs/`: the record others read instead of an exit status that runners swallow.

runs/<key>/outputs.json                 {output: artifact id}: written once the outputs are whole; a later run reuses them
runs/<key>/_FAILED                      the error that this key must meet again, so that a retry ends at once
runs/<key>/exit.json                    {step, key, exit_code, error, message} of the last try; absent while one runs or was killed
runs/journal/<run id>/<step>.json       the same with what was reused, seconds and outputs, for one run of a pipeline
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reelspace.core import errors
from reelspace.core.artifacts import Artifact, open_artifact
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
class StepRecords:
    """The records of one step key."""

    store: Store
    step: str
    key: str

    def begin(self) -> None:
        """Forget how the last try ended: a killed one must not look like a finished one."""
        self.store.delete(self._path("exit.json"))

    def outputs(self, names: Sequence[str]) -> dict[str, Artifact] | None:
        """Give the outputs an earlier run recorded, every byte checked, or None if one is missing or damaged."""
        record = self._read("outputs.json")
        if record is None or set(record) != set(names):
            return None
        try:
            artifacts = {name: open_artifact(self.store, record[name]) for name in names}
            for artifact in artifacts.values():
                artifact.verify()
        except (ArtifactMissing, CorruptArtifact) as error:
            log("outputs_not_reusable", step=self.step, key=self.key, reason=str(error))
            return None
        return artifacts

    def record_outputs(self, outputs: Mapping[str, Artifact]) -> None:
        """Let later runs with this key reuse the outputs."""
        self._write("outputs.json", {name: artifact.id for name, artifact in outputs.items()})

    def raise_known_failure(self, places: Sequence[str]) -> None:
        """Raise again the error that this key, with these places, has already met."""
        record = self._read("_FAILED")
        if record is None or record["places"] != list(places):
            return
        log("step_failed_before", step=self.step, key=self.key, marker=self._path("_FAILED"))
        raise _error_class(record["error"])(record["message"])

    def record_failure(self, error: ReelspaceError, places: Sequence[str]) -> None:
        """Let a retry of a permanent error end at once."""
        self._write("_FAILED", {"error": type(error).__name__, "message": str(error), "places": list(places)})

    def record_exit(self, outcome: Outcome) -> None:
        """Write how this try ended."""
        record = {"step": self.step, "key": self.key}
        self._write("exit.json", {**record, "exit_code": outcome.exit_code, "error": outcome.error, "message": outcome.message})

    def _path(self, name: str) -> str:
        return f"runs/{self.key}/{name}"

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self._path(name)
        return dict(json.loads(self.store.get(path))) if self.store.exists(path) else None

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
