"""The launcher as a process: it is killed, stopped and starved of signs of life; its exit code says what to do next."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from reelspace.model.checkpoint import load_model
from reelspace.train.job import TrainJob
from reelspace.train.launcher import EXIT_FILE
from reelspace.train.settings import AugmentSettings, TrainSettings
from reelspace.train.train_log import LOG_FILE
from tests.processes import is_running
from tests.unit.train.worlds import TOPICS, World, write_world

LIMIT_S = 280.0
# The smallest preset: the launcher takes presets only.
SETTINGS = TrainSettings(
    model="tiny_student", steps=12, batch_size=8, checkpoint_every=4, log_every=1, augment=AugmentSettings(drop_picture=0.0)
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("world"))


@dataclass
class Training:
    """One run directory and the launchers started on it."""

    world: World
    root: Path
    settings: TrainSettings = SETTINGS
    environment: dict[str, str] = field(default_factory=lambda: {**os.environ, "OMP_NUM_THREADS": "1"})

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def out(self) -> Path:
        return self.root / "out"

    def start(self, *options: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "reelspace.train", "--config", str(self.write_config()), "--run", str(self.run), *options]
        return subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def write_config(self) -> Path:
        self.root.mkdir(exist_ok=True)
        config = self.root / "job.json"
        facts = {"store": self.world.store, "shards": self.world.shards, "labels": self.world.labels_directory, "out": self.out}
        config.write_text(TrainJob(kind="pretrain", pretrain=self.settings, **facts).model_dump_json())
        return config

    def finish(self) -> None:
        process = self.start()
        _, told = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, told

    def losses(self) -> dict[int, float]:
        return {row["step"]: row["loss"] for row in map(json.loads, (self.out / LOG_FILE).read_text().splitlines())}

    def checkpoints(self) -> list[int]:
        return sorted(int(path.name.removeprefix("step-")) for path in (self.run / "checkpoints").glob("step-*"))

    def worker_pids(self) -> dict[int, int]:
        pattern = "machine-0/process-*.json"
        return {int(path.stem.removeprefix("process-")): json.loads(path.read_text())["pid"] for path in self.run.glob(pattern)}

    def exit_record(self) -> dict[str, Any]:
        return dict(json.loads((self.run / EXIT_FILE).read_text()))


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def without_compilers(root: Path) -> str:
    """A PATH that has Python and the tools of the shell, and no compiler."""
    root.mkdir()
    for tool in ("sh", "env", "uname", "ls"):
        (root / tool).symlink_to(f"/bin/{tool}")
    (root / "python").symlink_to(sys.executable)
    return str(root)


def test_a_killed_training_goes_on_to_the_losses_of_an_uninterrupted_one_and_needs_no_compiler(world: World, tmp_path: Path):
    whole, parts = Training(world, tmp_path / "whole"), Training(world, tmp_path / "parts")
    whole.environment["PATH"] = without_compilers(tmp_path / "bin")
    whole.finish()
    killed = parts.start()
    wait_for(lambda: parts.checkpoints() == [4], killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    # At once, while the killed launcher's processes may still be there.
    parts.finish()
    assert parts.losses() == whole.losses()
    assert sorted(parts.losses()) == list(range(1, SETTINGS.steps + 1))
    assert parts.exit_record() == {"exit_code": 0, "error": "", "message": "", "at_s": 0.0}
    names = {"model.safetensors", "model.json", "tokenizer.json", "labels.parquet", "space.json", LOG_FILE, "summary.json"}
    assert names <= {path.name for path in parts.out.iterdir()}


def test_a_training_whose_weights_are_spread_writes_a_whole_model_and_label_head(world: World, tmp_path: Path):
    training = Training(world, tmp_path, SETTINGS.model_copy(update={"zero_stage": 3, "steps": 2}))
    training.finish()
    model, _, _ = load_model(training.out)
    assert all(weight.isfinite().all() for weight in model.state_dict().values())
    head = load_file(training.out / "label_head.safetensors")
    assert head["label_vectors"].norm(dim=1).tolist() == pytest.approx([1.0] * len(TOPICS))
    assert head["network.first"].numel() > 0


@pytest.mark.parametrize("marker", ["machine-0", "machine-0/process-0.json"])
def test_nothing_is_left_of_a_training_whose_starter_was_killed(world: World, tmp_path: Path, marker: str):
    """Whether the starter dies while the training is starting or once it trains."""
    training = Training(world, tmp_path, SETTINGS.model_copy(update={"engine": "torch", "steps": 2000}))
    config = training.write_config()
    command = ["-m", "reelspace.train", "--config", str(config), "--run", str(training.run)]
    starter = (
        "import os, subprocess, sys\n"
        f"subprocess.run([sys.executable, *{command!r}, '--parent', str(os.getpid())], start_new_session=True, stderr=subprocess.DEVNULL)"
    )
    process = subprocess.Popen([sys.executable, "-c", starter], env=training.environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (training.run / marker).exists(), process)
    assert processes_about(tmp_path)
    process.kill()
    process.communicate()
    deadline_s = time.monotonic() + LIMIT_S / 4
    while processes_about(tmp_path) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert processes_about(tmp_path) == []


def processes_about(place: Path) -> list[str]:
    """The command lines of other running processes that name a place."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(place) in line and is_running(int(path.parent.name)):
                lines.append(line)
    return lines


def test_sigterm_saves_and_exits_75_in_one_line(world: World, tmp_path: Path):
    training = Training(world, tmp_path, SETTINGS.model_copy(update={"engine": "torch", "steps": 400, "checkpoint_every": 400}))
    process = training.start()
    wait_for(lambda: (training.out / LOG_FILE).is_file() and len(training.losses()) >= 3, process)
    process.terminate()
    _, told = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 75
    saved = training.checkpoints()
    assert len(saved) == 1
    assert saved[0] < 400
    lines = [line for line in told.splitlines() if not line.startswith("{")]
    assert lines == [f"error: stopped by SIGTERM after step {saved[0]} of 400; saved, run again to go on"]
    assert training.exit_record()["exit_code"] == 75


def test_a_frozen_process_is_ended_and_the_launcher_exits_75(world: World, tmp_path: Path):
    training = Training(world, tmp_path, SETTINGS.model_copy(update={"engine": "torch", "steps": 2000}))
    process = training.start("--silent-s", "10")
    wait_for(lambda: bool(training.checkpoints()), process)
    worker = training.worker_pids()[0]
    os.kill(worker, signal.SIGSTOP)
    _, told = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 75
    assert "process 0 gave no sign of life for 10 s" in told
    assert not is_running(worker)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch_size": 9, "num_processes": 2}, "batch_size is 9, expected a multiple of num_processes = 2 times micro_batches = 1"),
        ({"engine": "torch", "offload": "optimizer"}, "offload is optimizer, expected none with engine torch"),
        ({"zero_stage": 2, "offload": "parameters"}, "offload is parameters and zero_stage is 2, expected 3"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_in_one_line_before_anything_starts(
    world: World, tmp_path: Path, change: dict[str, Any], says: str
):
    training = Training(world, tmp_path, SETTINGS.model_copy(update=change))
    process = training.start()
    _, told = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2
    assert told.startswith(f"error: {says}")
    assert told.count("\n") == 1
    assert training.exit_record()["exit_code"] == 2
    assert training.exit_record()["error"] == "UserError"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"kind": "pretrain", "pretrian": {}}', "'pretrian' is unknown, the nearest is 'pretrain'"),
        ("not JSON", "this is not JSON"),
        (None, "there is no such file"),
    ],
)
def test_a_config_that_does_not_read_is_refused_in_one_line(tmp_path: Path, text: str | None, says: str):
    config = tmp_path / "job.json"
    if text is not None:
        config.write_text(text)
    command = [sys.executable, "-m", "reelspace.train", "--config", str(config), "--run", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert json.loads((tmp_path / "run" / EXIT_FILE).read_text())["exit_code"] == 2


def test_an_error_of_the_input_that_only_a_training_process_can_see_exits_2_in_one_line(world: World, tmp_path: Path):
    training = Training(world, tmp_path, SETTINGS.model_copy(update={"model": "no_such_model", "engine": "torch"}))
    process = training.start()
    _, told = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2
    assert [line for line in told.splitlines() if not line.startswith("{")] == [f"error: {training.exit_record()['message']}"]
    assert "no_such_model" in told
