"""A training in a process of its own that saves after every step, and who watches its saves to kill it in the midst of one."""

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import torch

from tests.unit.train.loops import SETTINGS, make_loop

LIMIT_S = 120.0
_FORKS = multiprocessing.get_context("forkserver")
# The modules are loaded once; every training is a fork of the process that did.
_FORKS.set_forkserver_preload(["tests.unit.train.loops"])


def start(run: Path, steps: int) -> "multiprocessing.process.BaseProcess":
    """Train the small world; what it tells is added to `told` in the run directory."""
    process = _FORKS.Process(target=_train, args=(run, steps))
    process.start()
    return process


def saves(unfinished: Path, is_running: Callable[[], bool]) -> Iterator[str]:
    """Give the name of every save as it begins: its directory appears among the unfinished ones."""
    before = ""
    deadline_s = time.monotonic() + LIMIT_S
    while is_running():
        assert time.monotonic() < deadline_s
        for name in _names(unfinished):
            if name.startswith("step-") and name > before:
                before = name
                yield name
        time.sleep(0.0002)


def save_duration_s(unfinished: Path, is_running: Callable[[], bool]) -> float:
    """Watch a training to its end and give the median time of its saves."""
    took_s = []
    for name in saves(unfinished, is_running):
        start_s = time.monotonic()
        while name in _names(unfinished) and is_running():
            time.sleep(0.0002)
        took_s.append(time.monotonic() - start_s)
    return median(took_s)


def wait_until_in_a_save(unfinished: Path, is_running: Callable[[], bool], num_saves: int, after_s: float) -> None:
    """Return some time after the given number of saves has begun."""
    for number, _ in enumerate(saves(unfinished, is_running), start=1):
        if number == num_saves:
            # Not by sleep, which may take longer than a save.
            end_s = time.monotonic() + after_s
            while time.monotonic() < end_s:
                pass
            return
    raise AssertionError("the training ended before it was killed")


def count_cut(unfinished: Path) -> int:
    """Give 1 if a training was killed inside a save: it left a part of a checkpoint, which is renamed here to tell it from the next."""
    cut = [unfinished / name for name in _names(unfinished) if name.startswith("step-")]
    for directory in cut:
        directory.rename(unfinished / f"cut-{directory.name}")
    return len(cut)


def newest_whole(checkpoints: Path) -> int | None:
    """The newest step all of whose files have the hashes that its manifest names; read without the code under test."""
    for directory in sorted(checkpoints.glob("step-*"), reverse=True):
        facts = json.loads((directory / "manifest.json").read_bytes())
        if all(hashlib.sha256((directory / name).read_bytes()).hexdigest() == digest for name, digest in facts["files"].items()):
            return int(facts["step"])
    return None


def resumed_at(told: str) -> int | None:
    """The step that the last training of those who told said it resumed at."""
    steps = [row["step"] for row in map(json.loads, _json_lines(told)) if row["event"] == "resumed"]
    return steps[-1] if steps else None


def kill(pid: int) -> None:
    """End a process as a power cut does."""
    os.kill(pid, signal.SIGKILL)


def _json_lines(told: str) -> list[str]:
    return [line for line in told.splitlines() if line.startswith('{"at"')]


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _train(run: Path, steps: int) -> None:
    torch.set_num_threads(1)
    run.mkdir(exist_ok=True)
    with (run / "told").open("w") as sys.stderr:
        make_loop(run, SETTINGS.model_copy(update={"steps": steps, "checkpoint_every": 1})).fit()
