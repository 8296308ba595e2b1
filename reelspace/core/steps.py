"""The entry point of every step: keys, reuse, resumption, records and exit codes around a body that does the work."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from reelspace.core.artifacts import Artifact, canonical_json, open_artifact, read_manifest_file, write_artifact, write_manifest_file
from reelspace.core.digest import code_digest
from reelspace.core.errors import InternalError, ReelspaceError, SettingError, as_reelspace_error
from reelspace.core.keys import PRIVATE, checked_key
from reelspace.core.local_store import LocalStore
from reelspace.core.locks import locked_directory
from reelspace.core.log import log
from reelspace.core.processes import GRACE_S, die_with
from reelspace.core.program import EXIT_INTERRUPTED
from reelspace.core.settings import Settings, changes, identity
from reelspace.core.step_records import JournalEntry, Origin, Outcome, StepRecords, write_journal
from reelspace.core.step_state import StepState
from reelspace.core.store import Store, open_store

STORE_VARIABLE = "REELSPACE_STORE"
RUN_ID_VARIABLE = "REELSPACE_RUN_ID"
SUPERVISOR_VARIABLE = "REELSPACE_SUPERVISOR_PID"
ENDING_S = GRACE_S + 2.0
_EXIT_TERMINATED = 143

SaveSets = Callable[[Mapping[str, Mapping[str, str]]], Mapping[str, str]]


@dataclass
class StepRun:
    """What the body of a step works with.

    `scratch` is empty at the start and removed at the end; `state` survives a kill and holds what an earlier try of the same key
    left there. The body makes its changes in `state` whole (write beside, rename) and calls `save_state` after each.
    """

    store: Store
    name: str
    key: str
    inputs: Mapping[str, Artifact]
    scratch: Path
    state: Path
    _outputs: dict[str, Path] = field(default_factory=dict)
    _save: Callable[[], None] = lambda: None
    _save_sets: SaveSets = lambda _sets: {}

    def output(self, name: str) -> Path:
        """Give the directory that becomes the artifact `name` when the body returns."""
        if name not in self._outputs:
            raise InternalError(f"step {self.name} has no output {name!r}; it declares {', '.join(self._outputs)}")
        self._outputs[name].mkdir(parents=True, exist_ok=True)
        return self._outputs[name]

    def save_state(self) -> None:
        """Keep `state` where the next try finds it, also on another machine."""
        self._save()

    def save_state_sets(self, sets: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
        """Keep of `state` only sets of files whose SHA-256 are known, each whole or not at all; see `StepState.save_sets`."""
        return self._save_sets(sets)


Body = Callable[[StepRun], Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class _Step:
    """One call of run_step, its inputs opened and its key known."""

    store: Store
    name: str
    key: str
    code: str
    settings: Mapping[str, object]
    parents: tuple[str, ...]
    inputs: Mapping[str, Artifact]
    outputs: Mapping[str, str]
    body: Body
    cache: bool
    places: tuple[str, ...]
    noted: Mapping[str, object]

    @property
    def records(self) -> StepRecords:
        return StepRecords(self.store, self.name, self.key)

    @property
    def origin(self) -> Origin:
        return Origin(self.parents, self.code, self.settings)


def run_step(
    name: str,
    module: str,
    *,
    settings: Settings,
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    body: Body,
    extra_parents: Sequence[str] = (),
    code_roots: Sequence[str] = (),
    cache: bool = True,
    places: Sequence[str] = (),
) -> None:
    """Run one step of a pipeline once per key, and leave a record however it ends.

    The key is the SHA-256 of the step's name, the code it can reach, its settings (without PLACE fields) and its inputs' names and ids.
    When an earlier run recorded outputs under the key, they are of this origin and every byte of them verifies, they are reused and
    the body does not run.
    When an earlier run met a permanent UserError under the key, it is raised again at once.

    Args:
        module: dotted name of the step's module, where the code digest starts.
        inputs: name -> path of a manifest file.
        outputs: name -> path where the manifest file is written.
        body: fills `run.output(name)` for every output and returns figures for `run.json`.
        extra_parents: ids of things in the store that the body reads beside the inputs.
        code_roots: modules the body reaches in ways imports do not show (child processes, backends).
        cache: False for a step that reads what lies outside the store (a user's tables): it always runs, and its outputs' ids
            still depend on content alone. Its key then holds `places`, so that runs over different places do not meet.
        places: where the body reads outside the store; a known failure counts only for the same places.

    Raises:
        ReelspaceError: any error of the body, placed in the tree; a full disk is DiskFull.
        OutputOccupied: another process runs this key in a local store.

    Environment: REELSPACE_STORE (required), REELSPACE_RUN_ID (writes the journal `runs/journal/<run id>/<name>.json`),
        REELSPACE_SUPERVISOR_PID (this process ends when that one does).
    """
    if os.environ.get(SUPERVISOR_VARIABLE):
        die_with(int(os.environ[SUPERVISOR_VARIABLE]))
    store = open_store(_store_url())
    with _journal(store, name) as journal, _terminable():
        artifacts = {key: open_artifact(store, read_manifest_file(path).id) for key, path in inputs.items()}
        parents = (*(artifact.id for artifact in artifacts.values()), *extra_parents)
        code = code_digest(module, code_roots)
        values = identity(settings)
        ids = {key: artifact.id for key, artifact in artifacts.items()}
        journal.key = key = _key(name, code, values, ids, extra_parents, () if cache else places)
        noted = {"changes": changes(settings), "module": module, "code_roots": list(code_roots)}
        step = _Step(store, name, key, code, values, parents, artifacts, outputs, body, cache, tuple(places), noted)
        with _work_directory(store, key) as work, _exit_record(step):
            journal.outputs, journal.reused = _reuse_or_run(step, work)


def _store_url() -> str:
    url = os.environ.get(STORE_VARIABLE, "")
    if not url:
        raise SettingError(f"{STORE_VARIABLE} is not set: expected a directory or s3://bucket/prefix")
    return url


def _key(
    name: str, code: str, settings: Mapping[str, object], inputs: Mapping[str, str], extra_parents: Sequence[str], places: Sequence[str]
) -> str:
    # By name: the same artifact in the place of another input is another question.
    parents = {"inputs": dict(inputs), "beside": list(extra_parents)}
    parts = {"step": name, "code": code, "settings": settings, "parents": parents, "places": list(places)}
    return hashlib.sha256(canonical_json(parts)).hexdigest()


def _reuse_or_run(step: _Step, work: Path) -> tuple[dict[str, str], bool]:
    known = step.records.outputs(tuple(step.outputs), step.origin) if step.cache else None
    if known is None and step.cache:
        step.records.raise_known_failure(step.places)
    artifacts = known if known is not None else _run(step, work)
    for name, path in step.outputs.items():
        write_manifest_file(artifacts[name].manifest, path)
    return {name: artifact.id for name, artifact in artifacts.items()}, known is not None


def _run(step: _Step, work: Path) -> dict[str, Artifact]:
    start_s = time.monotonic()
    state = StepState.of(step.store, step.key, work)
    with _scratch(work) as scratch:
        state.restore()
        directories = {name: scratch / "outputs" / checked_key(name) for name in step.outputs}
        run = StepRun(step.store, step.name, step.key, step.inputs, scratch, state.directory, directories, state.save, state.save_sets)
        metrics = dict(step.body(run))
        facts = {**_run_facts(step), "wall_seconds": round(time.monotonic() - start_s, 3), "metrics": metrics}
        artifacts = {name: _write_output(step, name, directory, facts) for name, directory in directories.items()}
    step.records.record_outputs(artifacts)
    state.clear()
    return artifacts


def _write_output(step: _Step, name: str, directory: Path, facts: Mapping[str, object]) -> Artifact:
    if not directory.is_dir():
        raise InternalError(f"step {step.name} returned without filling its output {name!r}")
    return write_artifact(step.store, name, directory, parents=step.parents, code=step.code, settings=step.settings, run=facts)


def _run_facts(step: _Step) -> dict[str, object]:
    """Note what a manifest cannot say: when and where, which parent was which input, what differs from the defaults of this code."""
    return {
        "step": step.name,
        "key": step.key,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "places": list(step.places),
        "inputs": {name: artifact.id for name, artifact in step.inputs.items()},
        **step.noted,
    }


@contextmanager
def _work_directory(store: Store, key: str) -> Iterator[Path]:
    # Beside the store's objects, so that a killed run's leftovers are found and removed by the next one.
    if isinstance(store, LocalStore):
        base = store.root / PRIVATE
    else:
        base = Path(tempfile.gettempdir()) / f"reelspace-{os.getuid()}" / hashlib.sha256(store.url.encode()).hexdigest()[:16]
    work = base / "work" / key
    # The same step of a runner that was killed just now ends within its grace time.
    with locked_directory(work, ENDING_S):
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _scratch(work: Path) -> Iterator[Path]:
    scratch = work / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _exit_record(step: _Step) -> Iterator[None]:
    step.records.begin()
    try:
        yield
    except BaseException as caught:
        outcome, error = _outcome(caught)
        with _disk_may_be_full(step.name):
            step.records.record_exit(outcome)
            if error is not None and error.permanent and step.cache:
                step.records.record_failure(error, step.places)
        if error is None or error is caught:
            raise
        raise error from caught
    step.records.record_exit(Outcome(0))


@dataclass
class _Journal:
    key: str = ""
    reused: bool = False
    outputs: Mapping[str, str] = field(default_factory=dict)

    def entry(self, name: str, outcome: Outcome, seconds: float) -> JournalEntry:
        return JournalEntry(name, self.key, outcome.exit_code, outcome.error, outcome.message, self.reused, round(seconds, 3), self.outputs)


@contextmanager
def _journal(store: Store, name: str) -> Iterator[_Journal]:
    start_s, journal = time.monotonic(), _Journal()
    try:
        yield journal
    except BaseException as caught:
        outcome, error = _outcome(caught)
        with _disk_may_be_full(name):
            _publish(store, journal.entry(name, outcome, time.monotonic() - start_s))
        if error is None or error is caught:
            raise
        raise error from caught
    _publish(store, journal.entry(name, Outcome(0), time.monotonic() - start_s))


def _publish(store: Store, entry: JournalEntry) -> None:
    log("step", step=entry.step, key=entry.key, exit_code=entry.exit_code, reused=entry.reused, seconds=entry.wall_seconds)
    run_id = os.environ.get(RUN_ID_VARIABLE, "")
    if run_id:
        write_journal(store, run_id, entry)


def _outcome(caught: BaseException) -> tuple[Outcome, ReelspaceError | None]:
    """Give the record of an error, and the error of ours that stands for it (None if the process was asked to stop)."""
    if isinstance(caught, KeyboardInterrupt):
        return Outcome(EXIT_INTERRUPTED, "KeyboardInterrupt", "interrupted"), None
    if isinstance(caught, SystemExit):
        code = caught.code if isinstance(caught.code, int) else 1
        return Outcome(code, "SystemExit", f"stopped with exit code {code}"), None
    error = as_reelspace_error(caught)
    return Outcome(error.exit_code, type(error).__name__, str(error)), error


@contextmanager
def _disk_may_be_full(name: str) -> Iterator[None]:
    # The record of a full disk needs the disk: the error itself, raised right after, matters more than its record.
    try:
        yield
    except (OSError, ReelspaceError) as error:
        log("record_not_written", step=name, reason=str(error))


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into SystemExit while the block runs, so that it cleans up behind itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(_EXIT_TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
