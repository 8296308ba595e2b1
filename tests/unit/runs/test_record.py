"""A run's record says what became of its process, also when nobody was left to write that down."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from reelspace.core.errors import ArtifactMissing, UserError
from reelspace.core.local_store import LocalStore
from reelspace.core.step_records import JournalEntry, write_journal
from reelspace.runs.control import arguments_again, cancel_run, read_log
from reelspace.runs.record import RunRecord, find_record, process_start, read_records, step_states, write_record
from reelspace.runs.table import steps_table


def record_of(pid: int, **changes: object) -> RunRecord:
    record = RunRecord.begin(uuid.uuid4().hex, "train_and_publish", ("import_tables", "pretrain"), ("train_and_publish",), "")
    return record.model_copy(update={"pid": pid, "process_start": process_start(pid) or 0, **changes})


def sleeper() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def test_a_run_is_lost_when_its_process_is_gone_and_when_another_has_its_number() -> None:
    process = sleeper()
    record = record_of(process.pid)
    assert record.state == "running"
    assert record.model_copy(update={"process_start": record.process_start + 1}).state == "lost"
    process.kill()
    process.wait()
    assert record.state == "lost"
    assert [record.ended(code).state for code in (0, 2, 143)] == ["done", "failed", "cancelled"]


def test_a_killed_process_that_nobody_waited_for_is_gone() -> None:
    process = sleeper()
    record = record_of(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert record.state == "lost"
    process.wait()


def test_runs_are_found_by_the_beginning_of_their_ids_newest_first(store: LocalStore) -> None:
    old = record_of(1, run_id="a" * 32, started_at="2025-01-01T00:00:00+00:00")
    new = record_of(1, run_id="ab" * 16, started_at="2025-01-02T00:00:00+00:00")
    for record in (old, new):
        write_record(store, record)
    assert read_records(store) == [new, old]
    assert find_record(store, "last") == new
    assert find_record(store, "aa") == old
    with pytest.raises(UserError, match="2 runs begin with a"):
        find_record(store, "a")
    with pytest.raises(ArtifactMissing, match="no run b"):
        find_record(store, "b")


def test_a_step_that_has_not_ended_is_open_while_the_run_goes_on_and_was_not_run_afterwards(store: LocalStore) -> None:
    record = record_of(os.getpid())
    write_journal(store, record.run_id, JournalEntry("import_tables", "k", 0, "", "", False, 1.5, {"tables": "f" * 64}))
    states = [(row["step"], row["state"], row["outputs"]) for row in steps_table(record, step_states(store, record))]
    assert states == [("import_tables", "done", "tables=" + "f" * 12), ("pretrain", "open", "")]
    ended = record.ended(2, "no")
    assert [row["state"] for row in steps_table(ended, step_states(store, ended))] == ["done", "not run"]


def test_a_run_is_cancelled_once(store: LocalStore) -> None:
    process = sleeper()
    record = record_of(process.pid)
    write_record(store, record)
    with pytest.raises(UserError, match="still runs"):
        arguments_again(record)
    assert cancel_run(store, record.run_id).state == "cancelled"
    assert process.wait() == -15
    assert find_record(store, record.run_id).state == "cancelled"
    assert arguments_again(find_record(store, record.run_id)) == ["train_and_publish"]
    with pytest.raises(UserError, match="it is cancelled"):
        cancel_run(store, record.run_id)


def test_a_run_of_another_machine_is_shown_and_not_touched(store: LocalStore) -> None:
    record = record_of(1, host="elsewhere")
    write_record(store, record)
    assert record.state == "running"
    for touch in (lambda: cancel_run(store, record.run_id), lambda: list(read_log(record)), lambda: arguments_again(record)):
        with pytest.raises(UserError, match="started on elsewhere"):
            touch()


def test_a_log_is_followed_until_its_run_has_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = f"import time; f = open({str(log)!r}, 'a', buffering=1); [(print(n, file=f), time.sleep(0.1)) for n in range(5)]"
    log.touch()
    process = subprocess.Popen([sys.executable, "-c", program])
    record = record_of(process.pid, log=str(log))
    assert [line.strip() for line in read_log(record, follow=True)] == list("01234")
    process.wait()
    with pytest.raises(ArtifactMissing, match="has no log"):
        list(read_log(record.model_copy(update={"log": ""})))
