"""Kubeflow Pipelines as a place: what is submitted by its SDK, and what is asked of its API until the run is over.

The server stands in for the real one; what goes over the wire is read and written by the models of kfp's own client.
"""

import json
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from typer.testing import CliRunner

from pipelines.kubeflow_run import KubeflowPlace, start
from pipelines.places import Run
from pipelines.run import run_there
from pipelines.steps import steps_of
from pipelines.train_and_publish import train_and_publish
from reelspace.cli.pipeline import app
from reelspace.core.errors import ArtifactMissing, PlaceRefused, ServerUnavailable, SettingError, UserError
from reelspace.core.settings import read
from reelspace.core.step_records import JournalEntry, write_journal
from reelspace.core.store import open_store
from reelspace.runs import kubeflow
from reelspace.runs.control import settled
from reelspace.runs.kubeflow import KubeflowRuns
from reelspace.runs.record import RunRecord, find_record, write_record
from reelspace.runs.remote import LiveStep
from tests.pipelines.kubeflow_server import KubeflowServer

ROOT = Path(__file__).resolve().parents[2]
STEPS = steps_of(train_and_publish)
PARAMETERS = {"tables_uri": "s3://data/tables", "media_root": "s3://data/media"}
PROGRESS = '{"event": "progress", "what": "training", "done": 3, "total": 9}\n'


@pytest.fixture
def server() -> KubeflowServer:
    return KubeflowServer()


@pytest.fixture
def url(server: KubeflowServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("kfp.client.Client._LOCAL_KFP_CONTEXT", "/nowhere")
    monkeypatch.setattr(kubeflow, "PATIENCE_S", 1.0)
    monkeypatch.setattr(kubeflow, "POLL_S", 0.02)
    with server.serving() as address:
        yield address


def run_of(place: dict[str, Any], store: str = "s3://bucket/prefix") -> Run:
    record = RunRecord.begin(uuid.uuid4().hex, "train_and_publish", STEPS, ("train_and_publish",), "")
    return Run(record.at("kfp", json.dumps(place)), PARAMETERS, store, Path("unused"))


def started(place: dict[str, Any], server: KubeflowServer) -> tuple[RunRecord, str]:
    """Start a run; gives its record and its id there."""
    run = run_of(place)
    record = run.record.known_as(start(run))
    assert list(server.runs) == [record.remote["run"]]
    return record, record.remote["run"]


def handed_over(server: KubeflowServer, url: str) -> tuple[RunRecord, str]:
    """A run that was handed over before; gives its record and its id there."""
    run_id = server.add_run()
    return run_of({"url": url}).record.known_as({"url": url, "run": run_id}), run_id


def entry(step: str, exit_code: int = 0, message: str = "") -> JournalEntry:
    return JournalEntry(step, "key", exit_code, "", message, reused=False, wall_seconds=0.1, outputs={})


def variables_of(spec: dict[str, Any], platform: dict[str, Any], task: str) -> dict[str, str]:
    """The variables of a task's container: values, or secret/key."""
    label = f"exec-{task}"
    plain = {row["name"]: row["value"] for row in spec["deploymentSpec"]["executors"][label]["container"]["env"]}
    secrets = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][label]["secretAsEnv"]
    return plain | {row["envVar"]: f"{one['secretName']}/{row['secretKey']}" for one in secrets for row in one["keyToEnv"]}


def test_a_run_is_submitted_with_its_parameters_and_every_step_knows_the_run_and_the_store(
    server: KubeflowServer, url: str, tmp_path: Path
):
    token = tmp_path / "token"
    token.write_text("words\n")
    place = {"url": url, "token_file": str(token), "experiment": "nightly", "service_account": "runner", "pipeline_root": "s3://kfp/root"}
    place |= {"store_secret": "store", "environment": [{"name": "REELSPACE_S3_ENDPOINT", "value": "http://store:9000"}]}
    record, run_id = started(place, server)
    run = server.runs[run_id]
    assert record.remote == {"url": url, "run": run_id, "token_file": str(token)}
    assert server.experiments[run.experiment_id].display_name == "nightly"
    assert (run.service_account, run.runtime_config.pipeline_root) == ("runner", "s3://kfp/root")
    assert run.runtime_config.parameters == PARAMETERS
    assert record.run_id[:12] in run.display_name
    assert KubeflowRuns().state(record) == "running"
    assert server.tokens == {"Bearer words"}
    token.unlink()
    with pytest.raises(PlaceRefused, match=f"token_file {token}"):
        KubeflowRuns().state(record)
    spec, platform = run.pipeline_spec["pipeline_spec"], run.pipeline_spec["platform_spec"]
    # A field that the backend does not know would be an error here.
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    for step in STEPS:
        assert variables_of(spec, platform, step.replace("_", "-")) == {
            "REELSPACE_S3_ENDPOINT": "http://store:9000",
            "REELSPACE_STORE": "s3://bucket/prefix",
            "REELSPACE_RUN_ID": record.run_id,
            "AWS_ACCESS_KEY_ID": "store/AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY": "store/AWS_SECRET_ACCESS_KEY",
        }


def test_but_for_the_variables_the_committed_pipeline_is_what_is_submitted(server: KubeflowServer, url: str):
    _, run_id = started({"url": url}, server)
    submitted = server.runs[run_id].pipeline_spec
    for executor in submitted["deploymentSpec"]["executors"].values():
        del executor["container"]["env"]
    committed = yaml.safe_load((ROOT / "pipelines" / "compiled" / "train_and_publish.yaml").read_text())
    canonical = json_format.ParseDict(committed, pipeline_spec_pb2.PipelineSpec())
    assert submitted == json_format.MessageToDict(canonical)


def test_a_place_that_cannot_work_is_refused_before_anything_is_submitted(server: KubeflowServer, url: str):
    with pytest.raises(SettingError, match="expected s3://bucket/prefix"):
        start(run_of({"url": url}, store="/data/store"))
    with pytest.raises(SettingError, match="AWS_SECRET_ACCESS_KEY is written into the file; put it into a Kubernetes Secret"):
        start(run_of({"url": url, "environment": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "words"}]}))
    with pytest.raises(SettingError, match="'store_secrets' is unknown, the nearest is 'store_secret'"):
        start(run_of({"url": url, "store_secrets": "store"}))
    with pytest.raises(SettingError, match="ca_file of the place: no file /nowhere"):
        start(run_of({"url": url, "ca_file": "/nowhere.pem"}))
    assert server.runs == {}


def test_the_place_in_the_guide_is_read_as_it_stands_and_every_key_is_named():
    guide = (ROOT / "docs" / "guides" / "pipelines.md").read_text().partition("## On Kubeflow Pipelines")[2]
    example = re.search(r"```json\n(.*?)```", guide, re.DOTALL)
    assert example is not None
    read(KubeflowPlace, example[1])
    assert [key for key in KubeflowPlace.model_fields if f"`{key}`" not in guide and f'"{key}"' not in guide] == []
    assert f"every {kubeflow.POLL_S:.0f} seconds" in guide


def test_a_server_that_refuses_or_is_away_is_told_apart(server: KubeflowServer, url: str):
    server.refuses = (400, "the experiment is archived")
    with pytest.raises(PlaceRefused, match=f"{url} refused the run .400.: .*the experiment is archived"):
        start(run_of({"url": url, "namespace": "team"}))
    server.refuses = (502, "no upstream")
    with pytest.raises(ServerUnavailable, match="no upstream"):
        start(run_of({"url": url, "namespace": "team"}))
    with pytest.raises(ServerUnavailable, match="does not answer"):
        start(run_of({"url": "http://127.0.0.1:9", "namespace": "team"}))


def test_steps_are_seen_as_they_stand_and_a_running_one_with_its_progress(server: KubeflowServer, url: str):
    record, run_id = handed_over(server, url)
    assert KubeflowRuns().state(record) == "running"
    assert KubeflowRuns().step_states(record) == {}
    server.set_state(run_id, "RUNNING")
    server.add_task(run_id, "import-tables", "SUCCEEDED")
    server.add_task(run_id, "preprocess-signals", None)
    server.add_task(run_id, "preprocess-media", "FAILED")
    server.say(server.add_task(run_id, "pretrain", "RUNNING"), f"words\n{PROGRESS}")
    server.add_task(run_id, "embed", "PENDING")
    assert KubeflowRuns().step_states(record) == {
        "import_tables": LiveStep("done"),
        "preprocess_media": LiveStep("failed"),
        "pretrain": LiveStep("running", "training: 3 of 9"),
        "embed": LiveStep("waiting"),
    }


def test_a_step_that_is_called_again_stands_as_its_last_call(server: KubeflowServer, url: str):
    record, run_id = handed_over(server, url)
    server.add_task(run_id, "embed", "SUCCEEDED")
    server.add_task(run_id, "embed-2", "RUNNING")
    assert KubeflowRuns().step_states(record) == {"embed": LiveStep("running")}


def await_reads(server: KubeflowServer, num_more: int) -> None:
    """Wait until logs were read so many times more."""
    wanted, end_s = server.num_logs_read + num_more, time.monotonic() + 10
    while server.num_logs_read < wanted:
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_a_followed_log_gives_every_line_once_and_ends_with_the_run(server: KubeflowServer, url: str):
    record, run_id = handed_over(server, url)
    server.set_state(run_id, "RUNNING")
    pod = server.add_task(run_id, "import-tables", "RUNNING")
    server.say(pod, "one\ntw")
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(KubeflowRuns().log(record, follow=True)), daemon=True)
    reader.start()
    await_reads(server, 2)
    server.say(pod, "o\n")
    await_reads(server, 2)
    server.say(server.add_task(run_id, "pretrain", "RUNNING"), PROGRESS)
    server.say(pod, "three")
    server.set_state(run_id, "SUCCEEDED")
    reader.join(10)
    assert not reader.is_alive()
    assert lines == ["one\n", "two\n", "three\n", PROGRESS]
    assert list(KubeflowRuns().log(record, follow=False)) == lines
    # A server that keeps no logs has none once the pods are gone.
    server.logs.clear()
    assert list(KubeflowRuns().log(record, follow=False)) == []


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("RUNNING", "SUCCEEDED"), "done"),
        (("RUNNING", "FAILED"), "failed"),
        (("RUNNING", "CANCELING", "FAILED"), "cancelled"),
        (("CANCELING", "CANCELED"), "cancelled"),
        (("CANCELING", "FAILED", "RUNNING", "FAILED"), "failed"),
        (("CANCELING",), "running"),
        (("PAUSED",), "running"),
    ],
)
def test_the_state_of_a_run_is_that_of_its_last_try(server: KubeflowServer, url: str, states: tuple[str, ...], expected: str):
    record, run_id = handed_over(server, url)
    for state in states:
        server.set_state(run_id, state)
    assert KubeflowRuns().state(record) == expected


def test_a_run_that_was_deleted_is_lost_and_cannot_be_cancelled_or_tried_again(server: KubeflowServer, url: str):
    record, _ = handed_over(server, url)
    server.runs.clear()
    assert KubeflowRuns().state(record) == "lost"
    assert KubeflowRuns().retry(record) is None
    with pytest.raises(ArtifactMissing, match="it was deleted"):
        KubeflowRuns().cancel(record)


def test_a_server_that_is_away_for_a_moment_is_waited_for(server: KubeflowServer, url: str):
    record, _ = handed_over(server, url)
    server.num_lost = 1
    assert KubeflowRuns().state(record) == "running"
    server.refuses = (403, "not yours")
    with pytest.raises(PlaceRefused, match="not yours"):
        KubeflowRuns().state(record)
    server.refuses = (503, "later")
    with pytest.raises(ServerUnavailable, match=f"Kubeflow Pipelines at {url} does not answer: it answered 503: later"):
        KubeflowRuns().state(record)


def test_another_try_keeps_the_ids_of_the_run_and_its_record(server: KubeflowServer, url: str, tmp_path: Path):
    store = open_store(str(tmp_path / "store"))
    record, run_id = handed_over(server, url)
    write_record(store, record)
    write_journal(store, record.run_id, entry("import_tables", 75, "the store is away"))
    server.set_state(run_id, "FAILED")
    failed = settled(store, record)
    assert (failed.state, failed.exit_code, failed.message) == ("failed", 75, "step import_tables: the store is away")
    again = KubeflowRuns().retry(failed)
    assert server.changes == ["retry"]
    assert again == record
    assert settled(store, again).state == "running"
    for step in STEPS:
        write_journal(store, record.run_id, entry(step))
    server.set_state(run_id, "SUCCEEDED")
    assert settled(store, again).state == "done"
    assert find_record(store, record.run_id).exit_code == 0


def test_a_run_is_followed_to_its_end_and_ends_as_its_failed_step(
    server: KubeflowServer, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    store = open_store(str(tmp_path / "store"))
    run = run_of({"url": url})

    def work() -> None:
        end_s = time.monotonic() + 60
        while not server.runs and time.monotonic() < end_s:
            time.sleep(0.02)
        (there,) = server.runs
        server.say(server.add_task(there, "import-tables", "SUCCEEDED"), PROGRESS)
        write_journal(store, run.record.run_id, entry("import_tables"))
        write_journal(store, run.record.run_id, entry("preprocess_media", 2, "no such clip"))
        server.set_state(there, "FAILED")

    threading.Thread(target=work, daemon=True).start()
    with pytest.raises(UserError, match="step preprocess_media: no such clip"):
        run_there(run, store, detach=False)
    lines = capsys.readouterr().out.splitlines()
    assert PROGRESS.strip() in lines
    # A step whose log could not be read is told all the same.
    assert [json.loads(line)["step"] for line in lines if '"event": "step"' in line] == ["import_tables", "preprocess_media"]
    assert find_record(store, run.record.run_id).exit_code == 2


def test_the_command_line_submits_shows_and_cancels_a_run(server: KubeflowServer, url: str, s3_url: str, tmp_path: Path):
    place = tmp_path / "place.json"
    place.write_text(json.dumps({"url": url, "store_secret": "store"}))
    given = [f"--store={s3_url}", f"--work={tmp_path / 'work'}", "--where=kfp", f"--place={place}", "--tables=s3://data/tables"]
    command = [sys.executable, "-m", "reelspace.cli", "pipeline", "submit", "train_and_publish", *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    run_id = done.stdout.strip()
    (there,) = server.runs
    server.set_state(there, "RUNNING")
    server.say(server.add_task(there, "import-tables", "RUNNING"), PROGRESS)

    def reelspace(*words: str) -> str:
        result = CliRunner().invoke(app, [*words, f"--store={s3_url}"])
        assert result.exit_code == 0, result.output
        return result.output

    (row,) = json.loads(reelspace("status", "--json"))
    assert (row["run_id"], row["where"], row["state"]) == (run_id, "kfp", "running")
    first = json.loads(reelspace("status", run_id[:8], "--json"))[0]
    assert (first["step"], first["state"], first["message"]) == ("import_tables", "running", "training: 3 of 9")
    assert reelspace("logs", run_id[:8]) == PROGRESS
    server.ends_terminated = True
    assert reelspace("cancel", run_id[:8]).strip() == run_id
    assert server.changes == ["terminate"]
    assert find_record(open_store(s3_url), run_id).state == "cancelled"
