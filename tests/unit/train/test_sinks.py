"""Figures beside the log: a server that is away, slow or back again costs the training nothing, and what is lost is counted."""

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reelspace.core.errors import TemporaryError
from reelspace.core.settings import identity
from reelspace.train.event_files import steps_in
from reelspace.train.job import TrainJob
from reelspace.train.mlflow_run import MlflowRun, Tracking
from reelspace.train.sinks import Background
from reelspace.train.tracking import open_sinks
from reelspace.train.train_log import LOG_FILE
from tests.unit.train.loops import SETTINGS, make_loop
from tests.unit.train.test_loop import losses, stopped_at
from tests.unit.train.tracking_server import TrackingServer, tracking_server


@pytest.fixture
def server():
    with tracking_server() as server:
        yield server


def tracking(server: TrackingServer, run: Path, **change: Any) -> Tracking:
    settings = {"steps": 6, "optimizer": {"learning_rate": 0.1}}
    return Tracking(server.url, "pretrain-abc", "abcdef", settings, run / "mlflow.json", **change)


def told(capsys: pytest.CaptureFixture[str], event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def test_a_run_has_every_figure_of_every_step_its_settings_and_its_end(server: TrackingServer, tmp_path: Path):
    sink = Background("mlflow", MlflowRun(tracking(server, tmp_path, token="secret")))
    for step in range(1, 61):
        sink.write(step, {"loss": 1 / step, "num_skipped": 0, "gradient_norm": math.nan if step == 3 else 2.0})
    sink.close(is_done=True)
    (run,) = server.runs
    assert server.metrics() == [(step, 1 / step) for step in range(1, 61)]
    # JSON has no NaN.
    assert [step for step, _ in server.metrics(key="gradient_norm")] == [step for step in range(1, 61) if step != 3]
    assert (run["name"], run["status"]) == ("pretrain-abc", "FINISHED")
    assert run["params"] == {"steps": "6", "optimizer.learning_rate": "0.1"}
    assert server.tokens == {"Bearer secret"}


def test_a_resumed_training_goes_on_in_its_run_and_tells_no_step_twice(server: TrackingServer, tmp_path: Path):
    for steps, is_done in (((1, 2, 3), False), ((2, 3, 4), True)):
        sink = Background("mlflow", MlflowRun(tracking(server, tmp_path)))
        for step in steps:
            sink.write(step, {"loss": float(step)})
        sink.close(is_done=is_done)
        assert server.runs[0]["status"] == ("FINISHED" if is_done else "KILLED")
    assert len(server.runs) == 1
    assert [step for step, _ in server.metrics()] == [1, 2, 3, 4]
    # A run that somebody deleted is not gone on with.
    server.runs.clear()
    sink = Background("mlflow", MlflowRun(tracking(server, tmp_path)))
    sink.write(5, {"loss": 5.0})
    sink.close(is_done=True)
    assert [step for step, _ in server.metrics()] == [5]


def test_a_training_that_goes_on_on_another_machine_finds_its_unfinished_run(server: TrackingServer, tmp_path: Path):
    for machine, is_resumed, is_done in (("one", False, False), ("two", True, True), ("three", True, False), ("four", False, False)):
        (tmp_path / machine).mkdir()
        sink = Background("mlflow", MlflowRun(tracking(server, tmp_path / machine, is_resumed=is_resumed)))
        for step in (1, 2, 3) if machine != "two" else (2, 3, 4):
            sink.write(step, {"loss": float(step)})
        sink.close(is_done=is_done)
    # Three found it finished, four is no continuation.
    assert [[step for step, _ in server.metrics(run)] for run in range(len(server.runs))] == [[1, 2, 3, 4], [1, 2, 3], [1, 2, 3]]


def test_a_run_whose_answer_was_lost_is_not_made_twice(server: TrackingServer, tmp_path: Path):
    server.loses_answer = True
    sink = Background("mlflow", MlflowRun(tracking(server, tmp_path)), retry_s=0.02)
    sink.write(1, {"loss": 1.0})
    sink.close(is_done=True)
    (run,) = server.runs
    assert server.metrics() == [(1, 1.0)]
    assert run["params"] == {"steps": "6", "optimizer.learning_rate": "0.1"}


def test_figures_wait_for_a_server_that_comes_back(server: TrackingServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    server.mood = "failing"
    sink = Background("mlflow", MlflowRun(tracking(server, tmp_path)), retry_s=0.02)
    for step in range(1, 31):
        sink.write(step, {"loss": float(step)})
    deadline_s = time.monotonic() + 10
    while server.num_requests < 5:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    server.mood = "well"
    sink.close(is_done=True)
    assert [step for step, _ in server.metrics()] == list(range(1, 31))
    assert sink.num_dropped == 0
    (line,) = told(capsys, "figures_waiting")
    assert "answered 503" in str(line["reason"])


@pytest.mark.parametrize("mood", ["failing", "silent", "away"])
def test_no_step_waits_for_a_server_and_what_is_lost_is_counted_and_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mood: str
):
    with tracking_server() as server:
        if mood != "away":
            server.mood = mood  # type: ignore[assignment]
        else:
            server.server_close()
        sink = Background("mlflow", MlflowRun(tracking(server, tmp_path)), num_held=50, retry_s=0.02, close_s=0.3)
        start_s = time.monotonic()
        for step in range(1, 201):
            sink.write(step, {"loss": float(step)})
        assert time.monotonic() - start_s < 0.2
        sink.close(is_done=True)
        assert time.monotonic() - start_s < 2
        assert sink.num_dropped == 200
        captured = told(capsys, "figures_dropped")
        assert [(line["sink"], line["lines"]) for line in captured] == [("mlflow", 200)]


def test_an_answer_that_is_no_tracking_server_s_is_said_and_the_lines_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with tracking_server() as server:
        server.answer = lambda method, asked: (200, {"hello": "world"})  # type: ignore[method-assign]
        sink = Background("mlflow", MlflowRun(tracking(server, tmp_path)), retry_s=0.02)
        sink.write(1, {"loss": 1.0})
        sink.close(is_done=True)
    assert sink.num_dropped == 1
    assert "is this a tracking server?" in capsys.readouterr().err


def job(tmp_path: Path, **change: object) -> TrainJob:
    settings = SETTINGS.model_copy(update=change)
    return TrainJob(kind="pretrain", store="store", shards="0" * 64, labels=tmp_path, out=tmp_path / "out", pretrain=settings)


def test_a_training_tells_both_its_sinks_what_its_log_says_also_after_a_resume(server: TrackingServer, tmp_path: Path):
    asked = job(tmp_path, tensorboard=str(tmp_path / "boards"), mlflow=server.url)
    for is_last in (False, True):
        loop = make_loop(tmp_path / "run")
        loop = replace(loop, place=replace(loop.place, sinks=open_sinks(asked, "f" * 64, tmp_path)))
        if is_last:
            loop.fit()
        else:
            with pytest.raises(TemporaryError):
                stopped_at(loop, 3).fit()
    logged = losses(tmp_path / "run")
    assert dict(server.metrics()) == logged
    assert len(server.metrics()) == len(logged) == SETTINGS.steps
    assert {metric["key"] for metric in server.runs[0]["metrics"]} >= {"loss_video_text", "gradient_norm", "learning_rate", "samples_per_s"}
    files = sorted((tmp_path / "boards" / f"pretrain-{'f' * 12}").iterdir())
    assert sorted(step for path in files for step in steps_in(path) if step) == sorted(logged)


def test_where_and_whether_a_training_is_told_of_does_not_change_what_it_is(tmp_path: Path):
    asked = job(tmp_path, tensorboard="boards", mlflow="http://localhost:5000", silent_s=100.0)
    assert identity(asked.run_settings) == identity(job(tmp_path).run_settings)
    assert open_sinks(job(tmp_path), "f" * 64, tmp_path) == ()


def test_a_skipped_step_names_works_of_its_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    loop = make_loop(tmp_path, SETTINGS.model_copy(update={"steps": 2, "batch_size": 12}))
    good, bad = loop.make_batch(0), loop.make_batch(1)
    broken = replace(bad, mel_BWM=torch.full_like(bad.mel_BWM, math.nan), audio_mask_B=torch.ones_like(bad.audio_mask_B))
    replace(loop, make_batch=lambda step: broken if step else good).fit()
    (line,) = told(capsys, "step_skipped")
    assert line["step"] == 1
    assert line["works"] == bad.ids_B[:8].tolist()
    assert line["num_works"] == 12
    last = [json.loads(text) for text in (tmp_path / LOG_FILE).read_text().splitlines()][-1]
    assert (last["num_skipped"], last["loss"]) == (1, None)
