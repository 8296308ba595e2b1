"""Runs of pipelines as the store knows them: what was started where, with what, and how it ended.

runs/records/<run id>.json     one RunRecord; the steps of the run that have ended are in its journal (core/step_records.py)
"""

import os
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from reelspace.core.errors import ArtifactMissing, UserError
from reelspace.core.settings import Settings, read
from reelspace.core.step_records import JournalEntry, read_journal
from reelspace.core.store import Store
from reelspace.runs.where import Where

RECORDS = "runs/records/"
EXIT_CANCELLED = 143
State = Literal["running", "done", "failed", "cancelled", "lost"]


class RunRecord(Settings):
    """One run of a pipeline: started by a process of a machine, which runs it or hands it over to another place."""

    run_id: str = Field(pattern=r"^[0-9a-f]{32}$", description="Names the run.")
    pipeline: str = Field(description="Name of the pipeline.")
    steps: tuple[str, ...] = Field(description="Its steps.")
    arguments: tuple[str, ...] = Field(description="Arguments of pipelines.run, so that it can be started again.")
    log: str = Field(description="Path of its log on its host; empty where it goes elsewhere.")
    host: str = Field(description="Machine it was started on.")
    pid: int = Field(ge=1, description="Process that runs it, or follows it where it runs elsewhere.")
    process_start: int = Field(ge=0, description="When that process started, in ticks since the machine did: process ids come again.")
    started_at: str = Field(description="ISO 8601, UTC.")
    ended_at: str | None = Field(None, description="ISO 8601, UTC; None while it runs, or when it was killed.")
    exit_code: int | None = Field(None, description="How it ended.")
    message: str = Field("", description="What went wrong.")
    where: Where = Field("process", description="Kind of place it runs in.")
    place: str = Field("", description="Settings of that place as JSON; they name files with secrets and hold none. Empty: its defaults.")
    remote: dict[str, str] = Field({}, description="What names the run there; empty where it runs on its host, or is not there yet.")

    @classmethod
    def begin(cls, run_id: str, pipeline: str, steps: Sequence[str], arguments: Sequence[str], log: str) -> "RunRecord":
        """Make the record of a run by this very process."""
        pid = os.getpid()
        return cls(
            run_id=run_id,
            pipeline=pipeline,
            steps=tuple(steps),
            arguments=tuple(arguments),
            log=log,
            host=socket.gethostname(),
            pid=pid,
            process_start=process_start(pid) or 0,
            started_at=_now(),
        )

    def ended(self, exit_code: int, message: str = "") -> "RunRecord":
        """Give the record of the run at its end."""
        return self.model_copy(update={"ended_at": _now(), "exit_code": exit_code, "message": message})

    def at(self, where: Where, place: str) -> "RunRecord":
        """Give the record of the run in another kind of place, with that place's settings as JSON."""
        return self.model_copy(update={"where": where, "place": place})

    def known_as(self, remote: Mapping[str, str]) -> "RunRecord":
        """Give the record of the run with what names it in its place."""
        return self.model_copy(update={"remote": dict(remote)})

    def again(self) -> "RunRecord":
        """Give the record of the run while its place tries it again under the same id."""
        return self.model_copy(update={"ended_at": None, "exit_code": None, "message": ""})

    @property
    def is_remote(self) -> bool:
        """Whether it was handed over to a place that goes on by itself, and is asked how it stands (runs/remote.py)."""
        return bool(self.remote)

    @property
    def is_here(self) -> bool:
        """Whether it was started on this machine."""
        return self.host == socket.gethostname()

    @property
    def state(self) -> State:
        """How it stands; of a run on another machine, or in another place, that has not ended, only that it was started is known."""
        if self.exit_code is not None:
            return "done" if self.exit_code == 0 else "cancelled" if self.exit_code == EXIT_CANCELLED else "failed"
        is_known_here = self.is_here and not self.is_remote
        return "running" if not is_known_here or process_start(self.pid) == self.process_start else "lost"


def process_start(pid: int) -> int | None:
    """Tell when a process of this machine started, in ticks since the machine did; None where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in brackets may hold anything; 20 fields after it stands the start.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def write_record(store: Store, record: RunRecord) -> None:
    """Write a record, over an older state of it."""
    store.put(f"{RECORDS}{record.run_id}.json", record.model_dump_json(indent=1).encode())


def read_record(store: Store, run_id: str) -> RunRecord:
    """Give the record of a run by its whole id."""
    return read(RunRecord, store.get(f"{RECORDS}{run_id}.json").decode())


def read_records(store: Store) -> list[RunRecord]:
    """Give all runs, newest first."""
    records = [read(RunRecord, store.get(key).decode()) for key in store.list(RECORDS)]
    return sorted(records, key=lambda record: record.started_at, reverse=True)


def find_record(store: Store, run: str) -> RunRecord:
    """Give the run whose id begins so, or the newest for `last`.

    Raises:
        ArtifactMissing: there is none.
        UserError: several ids begin so.
    """
    records = read_records(store)
    found = records[:1] if run == "last" else [record for record in records if record.run_id.startswith(run)]
    if not found:
        raise ArtifactMissing(f"no run {run} in {store.url}; `reelspace pipeline status --store {store.url}` lists what there is")
    if len(found) > 1:
        raise UserError(f"{len(found)} runs begin with {run}, e.g. {found[0].run_id} and {found[1].run_id}: give more of the id")
    return found[0]


def step_states(store: Store, record: RunRecord) -> Mapping[str, JournalEntry | None]:
    """Give every step of a run with what it did; None where it has not ended."""
    entries = read_journal(store, record.run_id)
    return {step: entries.get(step) for step in record.steps}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
