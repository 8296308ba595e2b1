"""What may be done to a run that was started on this machine: read its log, end it, start it again."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from reelspace.core.errors import ArtifactMissing, TemporaryError, UserError
from reelspace.core.store import Store
from reelspace.runs.record import EXIT_CANCELLED, RunRecord, find_record, process_start, write_record

GRACE_S = 120.0
"""A training that is told to end saves first."""
_PAUSE_S = 0.1


def read_log(record: RunRecord, *, follow: bool = False) -> Iterator[str]:
    """Give the lines of a run's log.

    Args:
        follow: go on until the run has ended.

    Raises:
        UserError: the run is another machine's.
        ArtifactMissing: it has no log, or no longer.
    """
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
    record = find_record(store, run)
    _check_here(record)
    if record.state != "running":
        raise UserError(f"run {record.run_id} does not run any more: it is {record.state}")
    # The process alone: its steps watch it, and end in their own way.
    os.kill(record.pid, signal.SIGTERM)
    end_s = time.monotonic() + GRACE_S
    while process_start(record.pid) == record.process_start:
        if time.monotonic() > end_s:
            raise TemporaryError(f"run {record.run_id}, process {record.pid}, has not ended within {GRACE_S:.0f} s: try again")
        time.sleep(_PAUSE_S)
    ended = find_record(store, record.run_id)
    if ended.exit_code is None:
        ended = record.ended(EXIT_CANCELLED, "cancelled")
        write_record(store, ended)
    return ended


def arguments_again(record: RunRecord) -> list[str]:
    """Give the arguments that start a run's pipeline again.

    Raises:
        UserError: it still runs, or is another machine's, whose places may not be here.
    """
    _check_here(record)
    if record.state == "running":
        raise UserError(f"run {record.run_id} still runs: cancel it first, or wait")
    return list(record.arguments)


def _check_here(record: RunRecord) -> None:
    if not record.is_here:
        raise UserError(f"run {record.run_id} was started on {record.host}: ask there")
