"""Shards that freeze or are damaged, and gateways that are told to stop."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from reelspace.core.errors import ServerUnavailable
from reelspace.core.store import LocalStore
from reelspace.search.storage.layout import shard_model, shard_of_ids
from reelspace.serving.triton import TritonProcess

from .conftest import Promoted, Running, promote_rows, started_gateway

SMALL = {"num_rows": 200, "dimension": 8}


def process_of(triton: TritonProcess, model: str) -> int:
    """Give the process that holds a model of this server."""
    for path in Path("/proc").glob("[0-9]*"):
        arguments = (path / "cmdline").read_bytes().split(b"\0") if (path / "cmdline").exists() else []
        if f"{model}_0_0".encode() in arguments and parent_of(parent_of(int(path.name))) == triton.pid:
            return int(path.name)
    raise AssertionError(f"no process of {model}")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def ask(running: Running, query_D: NDArray[np.float32], timeout: float = 0.3, **keys: object) -> httpx.Response:
    body = {"query": query_D.tolist(), "limit": 10, **keys}
    return httpx.post(f"{running.url}/collections/videos/points/query?timeout={timeout}", json=body, timeout=30)


def test_silence_is_an_error_that_names_the_shards_and_ends_with_it(running: Running, queries_QD: NDArray[np.float32]) -> None:
    server = parent_of(process_of(running.triton, "shard-videos.01234567-1"))
    with frozen(server):
        response = ask(running, queries_QD[0])
        assert response.status_code == 504
        assert response.json()["status"]["error"] == "shards [0, 1] did not answer within 0.3 s"
        assert ask(running, queries_QD[0], allow_partial=True).status_code == 504
        assert httpx.get(f"{running.url}/readyz", timeout=30).status_code == 503
        assert httpx.get(f"{running.url}/healthz", timeout=30).status_code == 200
    assert ask(running, queries_QD[0], timeout=10).status_code == 200


def test_dead_shard_is_an_error_that_names_it_or_part_of_the_answer_when_allowed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    pointer, gallery = promote_rows(store, tmp_path, **SMALL)
    models = [shard_model(pointer.collection, shard) for shard in range(2)]
    environment = {"REELSPACE_STORE": store.url}
    query = {"query": [1.0] * 8}
    with (
        TritonProcess.start([f"{store.url}/repository"], models, environment, log_path=tmp_path / "triton.log") as triton,
        started_gateway(store.url, triton, tmp_path / "gateway.log") as (url, _),
    ):
        address = f"{url}/collections/videos/points/query?timeout=10"
        assert httpx.post(address, json=query).status_code == 200
        os.kill(process_of(triton, models[0]), signal.SIGKILL)
        response = httpx.post(address, json=query, timeout=30)
        assert response.status_code == 503
        assert response.json()["status"]["error"].startswith("shards [0] failed: shard 0: shard-videos.01234567-0: ")
        result = httpx.post(address, json=query | {"allow_partial": True}, timeout=30).json()["result"]
    shard_N = shard_of_ids(gallery.ids_N, 2)
    assert result["coverage"] == {"rows": int((shard_N == 1).sum()), "of": 200, "missing_shards": [0]}
    assert set(shard_of_ids(np.array([point["id"] for point in result["points"]]), 2).tolist()) == {1}


def test_triton_refuses_a_damaged_shard_naming_the_file(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    pointer, _ = promote_rows(store, tmp_path, **SMALL)
    path = store.root / f"collections/{pointer.collection}/shards/1/generations/1/vectors-0.npy"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ServerUnavailable, match=r"shards/1/generations/1/vectors-0\.npy .*is corrupt"):
        TritonProcess.start(
            [f"{store.url}/repository"],
            [shard_model(pointer.collection, 1)],
            {"REELSPACE_STORE": store.url},
            log_path=tmp_path / "triton.log",
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_gateway_ends_cleanly_on_a_signal(running: Running, promoted: Promoted, tmp_path: Path, number: signal.Signals) -> None:
    with started_gateway(promoted.store.url, running.triton, tmp_path / "log") as (url, process):
        assert httpx.get(f"{url}/healthz").status_code == 200
        process.send_signal(number)
        assert process.wait(20) == 0
    assert (tmp_path / "log").read_text() == ""


def gateway(store: str, running: Running, port: int) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "reelspace.gateway", "--store", store, "--port", str(port)]
    command += ["--triton-grpc", running.triton.grpc_address, "--triton-http", f"127.0.0.1:{running.triton.http_port}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_gateway_refuses_a_taken_port_in_one_line(running: Running, promoted: Promoted) -> None:
    ended = gateway(promoted.store.url, running, int(running.url.rpartition(":")[2]))
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: cannot listen on 127.0.0.1:")
    assert len(ended.stderr.splitlines()) == 1


def test_gateway_over_a_store_where_nothing_was_promoted_serves_what_clients_make(running: Running, tmp_path: Path) -> None:
    with started_gateway(str(tmp_path / "store"), running.triton, tmp_path / "log") as (url, _):
        assert httpx.get(f"{url}/collections", timeout=30).json()["result"] == {"collections": []}
        assert httpx.get(f"{url}/readyz", timeout=30).status_code == 200
