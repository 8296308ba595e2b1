"""A build that takes more memory than it may is killed, and the collection neither notices nor is left with anything half done."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

import reelspace.search
from reelspace.core.local_store import LocalStore
from reelspace.core.processes import child
from reelspace.search.compute.build import IndexSettings
from reelspace.search.storage.layout import collection_key, read_collection, read_current
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import read_or_default

from .local_gateways import LocalGateway, local_gateway
from .memory_limit import memory_limit

NUM_ROWS, SIZE = 100_000, 64
LIMIT_BYTES = 64 << 20
REBUILD = (sys.executable, "-m", "reelspace.search.scheduling.rebuild_program")
PATIENCE_S = 120.0
Floats = NDArray[np.float32]


def made_store(root: Path, vectors_ND: Floats) -> tuple[LocalStore, str]:
    """Make a collection of one generation, with a few writes beside it."""
    with reelspace.search.open(root) as database:
        made = database.create_collection("mine", SIZE, "euclid")
        for start in range(0, NUM_ROWS, 20_000):
            made.upsert(list(range(start, start + 20_000)), vectors_ND[start : start + 20_000])
        made.optimize(IndexSettings(flat_below=1, recall_target=0.9))
        made.upsert([5], -vectors_ND[5:6])
    store = LocalStore(root)
    return store, read_or_default(store, Names, NAMES_KEY).collections["mine"]


def generation_of(store: LocalStore, full_name: str) -> int:
    return read_current(store, full_name, read_collection(store, full_name).num_shards).shards["0"].generation


def whole(store: LocalStore, full_name: str) -> list[str]:
    """List what counts as a generation."""
    return [key for key in store.list(collection_key(full_name, "shards/0/generations/")) if key.endswith("manifest.json")]


def start_build(store: LocalStore, full_name: str, scratch: Path) -> "subprocess.Popen[bytes]":
    """Start the program that gateways build with, and return when it is at it."""
    scratch.mkdir(exist_ok=True)
    before = len(list(scratch.iterdir()))
    command = [*REBUILD, "--store", store.url, "--collection", full_name, "--shard", "0"]
    process = child(command, env={**os.environ, "TMPDIR": str(scratch)}, stderr=subprocess.PIPE)
    deadline_s = time.monotonic() + PATIENCE_S
    while len(list(scratch.iterdir())) == before:
        assert process.poll() is None
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
    return process


def nearest(gateway: LocalGateway, vectors_QD: Floats) -> list[int]:
    searches = [{"query": vector_D.tolist(), "limit": 1} for vector_D in vectors_QD]
    answer = httpx.post(f"{gateway.url}/collections/mine/points/query/batch", json={"searches": searches}, timeout=30)
    assert answer.status_code == 200, answer.text
    return [one["points"][0]["id"] for one in answer.json()["result"]]


def test_a_build_killed_for_its_memory_leaves_the_collection_serving_and_the_next_one_succeeds(tmp_path: Path) -> None:
    vectors_ND = np.random.default_rng(3).standard_normal((NUM_ROWS, SIZE)).astype(np.float32)
    store, full_name = made_store(tmp_path / "store", vectors_ND)
    asked = np.r_[0:5, 6:20]
    first, before = generation_of(store, full_name), whole(store, full_name)
    with local_gateway(store.url, tmp_path / "log") as gateway:
        assert nearest(gateway, vectors_ND[asked]) == asked.tolist()
        with memory_limit(LIMIT_BYTES) as limit:
            process = start_build(store, full_name, tmp_path / "scratch-0")
            limit.hold(process.pid)
            num_asked = 0
            while process.poll() is None:
                assert nearest(gateway, vectors_ND[asked]) == asked.tolist()
                num_asked += 1
            assert process.returncode == -signal.SIGKILL
            assert limit.num_failed > 0
            print(f"killed at {limit.most_bytes >> 20} MiB; {num_asked} batches were answered meanwhile")
        assert generation_of(store, full_name) == first
        assert whole(store, full_name) == before, "what is half done is none"
        assert nearest(gateway, vectors_ND[asked]) == asked.tolist()
        process = start_build(store, full_name, tmp_path / "scratch-1")
        assert process.wait(PATIENCE_S) == 0
        assert generation_of(store, full_name) > first
        deadline_s = time.monotonic() + PATIENCE_S
        while httpx.get(f"{gateway.url}/collections/mine", timeout=30).json()["result"]["generation"] == [first]:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        assert nearest(gateway, vectors_ND[asked]) == asked.tolist()
        assert nearest(gateway, -vectors_ND[5:6]) == [5]
        assert gateway.process.poll() is None


def test_what_a_killed_build_has_written_is_gone_after_the_next(tmp_path: Path) -> None:
    vectors_ND = np.random.default_rng(4).standard_normal((NUM_ROWS, SIZE)).astype(np.float32)
    store, full_name = made_store(tmp_path / "store", vectors_ND)
    scratch = tmp_path / "scratch"
    process = start_build(store, full_name, scratch)
    while not any(path.stat().st_size > 1 << 20 for path in scratch.rglob("*.npy")):
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    process.wait()
    left_mb = sum(path.stat().st_size for path in scratch.rglob("*") if path.is_file()) / 1e6
    process = start_build(store, full_name, scratch)
    assert process.wait(PATIENCE_S) == 0
    assert not list(scratch.iterdir()), f"{left_mb:.0f} MB"
