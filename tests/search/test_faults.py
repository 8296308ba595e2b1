"""Shards that freeze or are damaged, and gateways that are told to stop."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from reelspace.core.artifacts import write_artifact
from reelspace.core.errors import ServerUnavailable
from reelspace.core.store import LocalStore
from reelspace.search.compute.build import IndexSettings, write_index
from reelspace.search.scheduling.promote import Promotion, promote
from reelspace.search.storage.layout import Collection, shard_of_ids
from reelspace.serving.triton import TritonProcess
from reelspace.steps.build_index import read_table

from .conftest import SPACE_ID, Promoted, Running, make_gallery, started_gateway, write_vectors


def stub_of(triton: TritonProcess, model: str) -> int:
    """Give the process id of a model's Python process."""
    for line in subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines():
        pid, _, command = line.strip().partition(" ")
        if "triton_python_backend_stub" in command and model in command and f"reelspace-triton-{triton.pid}" in command:
            return int(pid)
    raise AssertionError(f"no process of {model}")


def model_processes() -> str:
    return subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_x(running: Running) -> None:
    print(model_processes())
    assert 0
