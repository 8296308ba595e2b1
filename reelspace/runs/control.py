"""What may be done to a run: ask how it stands, read its log, end it, start it again; of this machine, or handed over to another place."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from reelspace.core.errors import ArtifactMissing, PlaceRefused, ReelspaceError, ServerUnavailable, TemporaryError, UserError
from reelspace.core.step_records import JournalEntry, read_journal
from reelspace.core.store import Store
from reelspace.runs.outcome import error_of_exit, failure
from reelspace.runs.record import EXIT_CANCELLED, RunRecord, find_record, process_start, read_record, write_record
from reelspace.runs.remote import LiveStep, RemotePlace

GRACE_S = 120.0
"""A training that is told to end saves first."""
_PAUSE_S = 0.1
_REMOTE_PAUSE_S = 1.0
_KILLED = (137, EXIT_CANCELLED)


def remote_place(record: RunRecord) -> RemotePlace:
    """Give the place that a run was handed over to."""
    if record.where == "argo":
        from reelspace.runs.argo import ArgoRuns  # httpx, which runs of this machine do without

        return ArgoRuns()
    if record.where == "kfp":
        from reelspace.runs.kubeflow import KubeflowRuns  # httpx, as above

        return KubeflowRuns()
    raise UserError(f"run {record.run_id} was handed over to {record.where!r}, which this version of reelspace cannot ask")


def settled(store: Store, record: RunRecord) -> RunRecord:
    """Give the record of a run as its place knows it by now; an end that nobody was there to write down is written.

    Raises:
        ServerUnavailable, PlaceRefused: its place does not say.
    """
    if record.exit_code is not None or not record.is_remote:
        return record
    place = remote_place(record)
    state = place.state(record)
    if state == "running":
        return record
    journal = read_journal(store, record.run_id)
    is_whole = all(step in journal and not journal[step].exit_code for step in record.steps)
    if state == "done" or (state == "lost" and is_whole):
        ended = record.ended(0)
    elif state == "cancelled":
        ended = record.ended(EXIT_CANCELLED, "cancelled")
    else:
        error = _silent_failure(place, record, journal) or failure(journal, record.steps, store.url)
        ended = record.ended(error.exit_code, str(error))
    write_record(store, ended)
    return ended


def _silent_failure(place: RemotePlace, record: RunRecord, journal: Mapping[str, JournalEntry]) -> ReelspaceError | None:
    """Give the error of a step that failed before it could write into the journal; None where there is none, or it was killed."""
    for step, live in place.step_states(record).items():
        if step not in journal and live.state == "failed" and live.exit_code not in (None, *_KILLED):
            return error_of_exit(live.exit_code)(f"step {step}: {live.message}")
    return None


def settled_all(store: Store, records: Sequence[RunRecord]) -> list[RunRecord]:
    """Give records as `settled` does; one whose place does not say stays as it is, and its message says why."""
    found = []
    for record in records:
        try:
            found.append(settled(store, record))
        except (ServerUnavailable, PlaceRefused) as error:
            found.append(record.model_copy(update={"message": f"its place does not say how it stands: {error}"}))
    return found


def live_steps(record: RunRecord) -> Mapping[str, LiveStep]:
    """Give what the place of a run that goes on says of its steps; nothing for one that has ended, or runs on this machine."""
    return remote_place(record).step_states(record) if record.is_remote and record.exit_code is None else {}


def retry_there(store: Store, record: RunRecord) -> RunRecord | None:
    """Let the place of a run try it again, and write the new run down; None: it is started anew, with `arguments_again`."""
    again = remote_place(record).retry(record) if record.is_remote else None
    if again is not None:
        write_record(store, again)
    return again


def read_log(record: RunRecord, *, follow: bool = False) -> Iterator[str]:
    """Give the lines of a run's log.

    Args:
        follow: go on until the run has ended.

    Raises:
        UserError: the run is another machine's.
        ArtifactMissing: it has no log, or no longer.
    """
    if record.is_remote:
        yield from remote_place(record).log(record, follow=follow)
        return
    _check_here(record)
    path = Path(record.log)
    if not record.log or not path.is_file():
        raise ArtifactMissing(f"run {record.run_id} has no log at {record.log or 'any place'}: it was removed, or went to a terminal")
    with path.open(encoding="utf-8", errors="replace") as log:
        while True:
            # Asked before reading: what is written before the end is read after it.
            is_over = not follow or process_start(record.pid) != record.process_start
            yield from log
            if is_over:
                return
            time.sleep(_PAUSE_S)


def cancel_run(store: Store, run: str) -> RunRecord:
    """End a run: its steps are told, may save, and are killed with it when they take longer than GRACE_S.

    Raises:
        UserError: it has ended already, or is another machine's.
        TemporaryError: it does not end.
    """
    record = settled(store, find_record(store, run))
    if not record.is_remote:
        _check_here(record)
    if record.state != "running":
        raise UserError(f"run {record.run_id} does not run any more: it is {record.state}")
    if record.is_remote:
        remote_place(record).cancel(record)
        _await(lambda: settled(store, record).exit_code is not None, f"run {record.run_id}", _REMOTE_PAUSE_S)
        return read_record(store, record.run_id)
    # The process alone: its steps watch it, and end in their own way.
    os.kill(record.pid, signal.SIGTERM)
    _await(lambda: process_start(record.pid) != record.process_start, f"run {record.run_id}, process {record.pid},", _PAUSE_S)
    ended = read_record(store, record.run_id)
    if ended.exit_code is None:
        ended = record.ended(EXIT_CANCELLED, "cancelled")
        write_record(store, ended)
    return ended


def arguments_again(record: RunRecord) -> list[str]:
    """Give the arguments that start a run's pipeline again.

    Raises:
        UserError: it still runs, or is another machine's, whose places may not be here.
    """
    if not record.is_remote:
        _check_here(record)
    if record.state == "running":
        raise UserError(f"run {record.run_id} still runs: cancel it first, or wait")
    return list(record.arguments)


def _await(condition: Callable[[], bool], what: str, pause_s: float) -> None:
    end_s = time.monotonic() + GRACE_S
    while not condition():
        if time.monotonic() > end_s:
            raise TemporaryError(f"{what} has not ended within {GRACE_S:.0f} s: try again")
        time.sleep(pause_s)


def _check_here(record: RunRecord) -> None:
    if not record.is_here:
        raise UserError(f"run {record.run_id} was started on {record.host}: ask there")
