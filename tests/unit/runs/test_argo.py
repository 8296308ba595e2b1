"""A run as a workflow, asked for over a real connection: how it stands, step by step, what its pods say, its end."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reelspace.core.errors import ArtifactMissing, PlaceRefused
from reelspace.core.local_store import LocalStore
from reelspace.core.step_records import JournalEntry, write_journal
from reelspace.core.store import open_store
from reelspace.runs.argo import ArgoRuns
from reelspace.runs.control import cancel_run, live_steps, read_log, settled, settled_all
from reelspace.runs.record import RunRecord, read_record, write_record
from reelspace.runs.remote import LiveStep
from reelspace.runs.table import steps_table
from tests.unit.runs.workflow_server import NAMESPACE, WORKFLOW, WorkflowServer, node

STEPS = ("import_tables", "pretrain")
PROGRESS = json.dumps({"at": "now", "event": "progress", "what": "training", "done": 3, "total": 10})


@pytest.fixture
def server() -> WorkflowServer:
    return WorkflowServer()


@pytest.fixture
def record(server: WorkflowServer) -> Iterator[RunRecord]:
    with server.serving() as url:
        made = RunRecord.begin("a" * 32, "train_and_publish", STEPS, ("train_and_publish",), "").at("argo", "")
        yield made.known_as({"namespace": NAMESPACE, "workflow": WORKFLOW, "url": url})


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def entry(step: str, exit_code: int = 0, message: str = "") -> JournalEntry:
    return JournalEntry(step, "k", exit_code, "", message, False, 1.0, {})


@pytest.mark.parametrize(
    ("phase", "spec", "state"),
    [
        ("", {}, "running"),
        ("Pending", {}, "running"),
        ("Running", {"shutdown": "Stop"}, "running"),
        ("Succeeded", {}, "done"),
        ("Failed", {}, "failed"),
        ("Error", {}, "failed"),
        ("Failed", {"shutdown": "Stop"}, "cancelled"),
    ],
)
def test_a_workflow_that_failed_after_it_was_told_to_stop_is_cancelled(
    server: WorkflowServer, record: RunRecord, phase: str, spec: dict[str, object], state: str
) -> None:
    server.run(phase, **spec)
    assert ArgoRuns().state(record) == state


def test_a_step_that_runs_is_shown_with_its_try_and_progress_and_one_between_tries_waits(server: WorkflowServer, record: RunRecord) -> None:
    first, second = node("pretrain", "Failed", 1, message="killed"), node("pretrain", "Running", 2)
    retry = node("pretrain", "Running", 3, type="Retry")
    server.add_pod(second, "Running", "words", PROGRESS, '{"broken', "more words")
    server.run("Running", node("import_tables", "Succeeded"), first, second, retry)
    assert ArgoRuns().step_states(record) == {
        "import_tables": LiveStep("done"),
        "pretrain": LiveStep("running", "try 2; training: 3 of 10"),
    }
    server.run("Running", first, retry)
    assert ArgoRuns().step_states(record) == {"pretrain": LiveStep("waiting", "tried again after: killed")}
    server.run("Running", first)
    assert ArgoRuns().step_states(record) == {"pretrain": LiveStep("failed", "killed")}


def test_what_runs_now_counts_before_the_journal_of_an_earlier_try(server: WorkflowServer, record: RunRecord) -> None:
    running = node("pretrain", "Running")
    server.run("Running", running)
    server.add_pod(running, "Running", PROGRESS)
    states = {"import_tables": entry("import_tables"), "pretrain": entry("pretrain", 75, "lost")}
    rows = steps_table(record, states, live_steps(record))
    assert [(row["state"], row["message"]) for row in rows] == [("done", ""), ("running", "training: 3 of 10")]
    assert live_steps(record.ended(0)) == {}


def test_the_logs_of_pods_at_the_same_time_are_followed_over_dropped_connections_each_line_once(
    server: WorkflowServer, record: RunRecord
) -> None:
    one, other = node("import_tables", "Running", 0), node("pretrain", "Running", 1)
    server.run("Running", one, other)
    server.add_pod(one, "Running", "one 0")
    lines: list[str] = []
    follower = threading.Thread(target=lambda: lines.extend(read_log(record, follow=True)))
    follower.start()
    for number in range(1, 4):
        follower.join(0.6)
        server.add_pod(one, "Running" if number < 3 else "Succeeded", f"one {number}")
        server.add_pod(other, "Running", f"other {number}")
    assert follower.is_alive()
    server.add_pod(other, "Succeeded", "last")
    server.run("Succeeded", one, other)
    follower.join(10.0)
    assert not follower.is_alive()
    assert [line for line in lines if line.startswith("one")] == [f"one {number}\n" for number in range(4)]
    assert [line for line in lines if not line.startswith("one")] == ["other 1\n", "other 2\n", "other 3\n", "last\n"]


def test_a_log_that_may_not_be_read_is_an_error_and_no_endless_wait(server: WorkflowServer, record: RunRecord) -> None:
    server.refuses = True
    with pytest.raises(PlaceRefused, match="not for you"):
        list(read_log(record, follow=True))


def test_a_log_is_told_in_the_order_of_its_steps_and_says_what_is_gone(server: WorkflowServer, record: RunRecord) -> None:
    gone, there = node("import_tables", "Succeeded", 0), node("pretrain", "Succeeded", 1)
    server.run("Succeeded", there, gone)
    server.add_pod(there, "Succeeded", "trained")
    first, second = read_log(record)
    assert first.startswith("the pod of import-tables(0) is gone")
    assert second == "trained\n"


def test_the_log_of_a_pod_that_is_gone_is_read_from_the_bucket_where_argo_kept_it(
    server: WorkflowServer, record: RunRecord, s3_url: str
) -> None:
    key = "argo/train/import/main.log"
    open_store(s3_url).put(key, b"imported\nall\n")
    kept = {"artifacts": [{"name": "tables", "s3": {"key": "argo/tables"}}, {"name": "main-logs", "s3": {"key": key}}]}
    lost = {"artifacts": [{"name": "main-logs", "s3": {"key": "argo/absent"}}]}
    server.run("Succeeded", node("import_tables", "Succeeded", 0, outputs=kept), node("pretrain", "Succeeded", 1, outputs=lost))
    first, second, third = read_log(record.known_as({**record.remote, "logs": s3_url}))
    assert (first, second) == ("imported\n", "all\n")
    assert third.startswith(f"the log of pretrain(1) is kept at {s3_url}/argo/absent, which cannot be read")


def test_the_end_of_a_workflow_that_nobody_followed_is_written_down_with_its_reason(
    server: WorkflowServer, record: RunRecord, store: LocalStore
) -> None:
    write_record(store, record)
    server.run("Running")
    assert settled(store, record) == record
    write_journal(store, record.run_id, entry("import_tables", 2, "no tables"))
    server.run("Failed")
    ended = settled(store, record)
    assert (ended.state, ended.exit_code, ended.message) == ("failed", 2, "step import_tables: no tables")
    assert read_record(store, record.run_id) == ended
    server.run("Succeeded")
    assert settled(store, ended) == ended


@pytest.mark.parametrize(
    ("exit_code", "error", "says"),
    [("2", 2, "step import_tables: SettingError: no such key"), ("137", 75, "step import_tables was ended from outside and left no word")],
)
def test_a_step_that_failed_without_a_word_in_the_journal_is_told_by_its_pod_unless_it_was_killed(
    server: WorkflowServer, record: RunRecord, store: LocalStore, exit_code: str, error: int, says: str
) -> None:
    failed = node("import_tables", "Failed", message="Error (exit code 2)", outputs={"exitCode": exit_code})
    server.add_pod(failed, "Failed", "SettingError: no such key", 'time="now" msg="sub-process exited" argo=true', "Error: exit status 2")
    server.run("Failed", failed)
    ended = settled(store, record)
    assert ended.exit_code == error
    assert ended.message.startswith(says)


def test_a_workflow_that_was_deleted_is_done_only_if_every_step_is(server: WorkflowServer, record: RunRecord, store: LocalStore) -> None:
    write_journal(store, record.run_id, entry("import_tables"))
    lost = settled(store, record)
    assert (lost.state, lost.exit_code) == ("failed", 75)
    assert "step pretrain" in lost.message
    write_journal(store, record.run_id, entry("pretrain"))
    assert settled(store, record).state == "done"


def test_a_place_that_does_not_say_is_told_in_the_list_of_runs(server: WorkflowServer, record: RunRecord, store: LocalStore) -> None:
    server.refuses = True
    here = RunRecord.begin("b" * 32, "train_and_publish", STEPS, ("train_and_publish",), "")
    first, second = settled_all(store, [record, here])
    assert (first.state, second) == ("running", here)
    assert "not for you" in first.message


def test_a_run_is_cancelled_by_telling_its_workflow_and_waiting_for_its_end(
    server: WorkflowServer, record: RunRecord, store: LocalStore
) -> None:
    write_record(store, record)
    server.run("Running")

    def end_when_told() -> None:
        while "shutdown" not in (server.workflow or {})["spec"]:
            pass
        server.run("Failed", shutdown="Stop")

    controller = threading.Thread(target=end_when_told, daemon=True)
    controller.start()
    assert cancel_run(store, record.run_id).state == "cancelled"
    controller.join()
    assert read_record(store, record.run_id).exit_code == 143
    server.workflow = None
    with pytest.raises(ArtifactMissing, match="it was deleted"):
        ArgoRuns().cancel(record)


def test_a_run_that_was_not_handed_over_yet_is_its_process(record: RunRecord) -> None:
    assert record.is_remote
    before = record.known_as({})
    assert before.state == "running"
    assert before.pid == os.getpid()
    assert before.model_copy(update={"process_start": 1}).state == "lost"
    assert record.model_copy(update={"process_start": 1}).state == "running"
