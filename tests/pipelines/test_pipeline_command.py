"""`reelspace pipeline` as a user meets it: a run that fails says why, a run that is cancelled ends with its steps."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reelspace.core.local_store import LocalStore
from reelspace.runs.record import find_record, read_records
from tests.unit.runs.workflow_server import NAMESPACE, WorkflowServer, node

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120.0


class Place:
    """A store, a work directory and tables without any file."""

    def __init__(self, root: Path) -> None:
        self.store = LocalStore(root / "store")
        self.places = ["--store", str(root / "store"), "--work", str(root / "work"), "--tables", str(root / "tables")]
        (root / "tables").mkdir()

    def reelspace(self, command: str, *given: str, places: bool = False) -> "subprocess.CompletedProcess[str]":
        where = self.places if places else self.places[:2]
        arguments = [sys.executable, "-m", "reelspace.cli", "pipeline", command, *given, *where]
        return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place where a run has failed: there are no tables."""
    place = Place(tmp_path_factory.mktemp("failed"))
    run = place.reelspace("run", "train_and_publish", places=True)
    assert run.returncode == 2, run.stderr
    assert "import_tables" in run.stderr
    return place


def test_a_failed_run_is_shown_with_its_reason(failed: Place) -> None:
    (run,) = json.loads(failed.reelspace("status", "--json").stdout)
    assert (run["pipeline"], run["state"], run["exit_code"]) == ("train_and_publish", "failed", 2)
    steps = {row["step"]: row for row in json.loads(failed.reelspace("status", "last", "--json").stdout)}
    assert steps["import_tables"]["state"] == "failed"
    assert steps["import_tables"]["message"] in run["message"]
    assert {row["state"] for name, row in steps.items() if name != "import_tables"} == {"not run"}
    heads, row = failed.reelspace("status").stdout.splitlines()
    assert heads.split()[0] == "run_id"
    assert row.startswith(run["run_id"][:12])
    assert run["message"] in row
    assert '"step": "import_tables"' in failed.reelspace("logs", "last").stdout


def test_a_run_is_tried_again_with_the_same_places(failed: Place) -> None:
    before = len(read_records(failed.store))
    again = failed.reelspace("retry", "last")
    assert again.returncode == 2
    records = read_records(failed.store)
    assert len(records) == before + 1
    assert records[0].arguments == records[-1].arguments


def test_a_submitted_run_goes_on_alone_and_ends_with_all_it_started_when_it_is_cancelled(tmp_path: Path) -> None:
    place = Place(tmp_path)
    submitted = place.reelspace("submit", "train_and_publish", places=True)
    assert submitted.returncode == 0, submitted.stderr
    run_id = submitted.stdout.strip()
    end_s = time.monotonic() + LIMIT_S
    while not [record for record in read_records(place.store) if record.run_id == run_id]:
        assert time.monotonic() < end_s
        time.sleep(0.02)
    cancelled = place.reelspace("cancel", run_id[:8])
    record = find_record(place.store, run_id)
    # Without tables it fails soon: whichever comes first, it is over, and says how.
    assert record.state in ("cancelled", "failed"), cancelled.stderr
    assert record.state != "cancelled" or cancelled.stdout.strip() == run_id
    assert Path(record.log).is_file()


def test_a_run_that_is_handed_over_to_argo_is_looked_after_from_the_store(tmp_path: Path) -> None:
    place, server = Place(tmp_path), WorkflowServer()
    mount = {"claim": "store", "path": str(tmp_path), "writable": True}
    with server.serving() as url:
        settings = {"namespace": NAMESPACE, "api": {"url": url}, "options": {"mounts": [mount]}}
        (tmp_path / "place.json").write_text(json.dumps(settings))
        where = ("--where", "argo", "--place", str(tmp_path / "place.json"))
        submitted = place.reelspace("submit", "train_and_publish", *where, places=True)
        assert submitted.returncode == 0, submitted.stderr
        run_id = submitted.stdout.strip()
        assert server.name == f"train-and-publish-{run_id[:12]}"
        record = find_record(place.store, run_id)
        assert (record.where, record.state) == ("argo", "running")
        assert record.remote == {"namespace": NAMESPACE, "workflow": server.name, "url": url}
        assert json.loads(record.place) == settings
        running = node("import_tables", "Running")
        server.run("Running", running)
        server.add_pod(running, "Running", "words of a pod")
        (first, second, *_) = json.loads(place.reelspace("status", "last", "--json").stdout)
        assert (first["step"], first["state"], second["state"]) == ("import_tables", "running", "open")
        assert place.reelspace("logs", run_id).stdout == "words of a pod\n"
        server.run("Failed", running, shutdown="Stop")
        (row,) = json.loads(place.reelspace("status", "--json").stdout)
        assert (row["where"], row["state"], row["exit_code"]) == ("argo", "cancelled", 143)


def test_settings_of_a_place_that_are_wrong_or_absent_are_one_line(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "place.json").write_text('{"namespaces": "team"}')
    for file, says in (("place.json", "namespaces"), ("absent.json", "no such file")):
        refused = place.reelspace("submit", "train_and_publish", "--where=argo", f"--place={tmp_path / file}", places=True)
        assert refused.returncode == 2
        assert says in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    assert [record.state for record in read_records(place.store)] == ["failed"]


def test_an_unknown_pipeline_and_a_wrong_argument_are_one_line(tmp_path: Path) -> None:
    place = Place(tmp_path)
    unknown = place.reelspace("run", "no_such", places=True)
    assert unknown.returncode == 2
    wrong = place.reelspace("run", "train_and_publish", "--argument", "student_id", places=True)
    assert wrong.returncode == 2
    assert "expected NAME=VALUE" in wrong.stderr


def test_the_pipelines_of_the_checkout_are_listed(tmp_path: Path) -> None:
    listed = Place(tmp_path)
    command = [sys.executable, "-m", "reelspace.cli", "pipeline", "list"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert told.returncode == 0, told.stderr
    assert {"train_and_publish", "daily_update", "finetune_head"} <= {
        line.split()[0] for line in told.stdout.splitlines() if line[0] != " "
    }
    assert not read_records(listed.store)
