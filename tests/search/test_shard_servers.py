"""`reelspace search shards` as a process: it has the shards of its group, and its probes tell whether these really answer."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from reelspace.core.local_store import LocalStore
from reelspace.core.processes import child, stop
from reelspace.gateway.servers import served_models
from reelspace.search.scheduling.create import create_collection
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.placement import declare_groups, place
from reelspace.search.storage.replaced_file import replace_file

from .doomed import MADE
from .test_killed_tritons import kept_ports

PATIENCE_S = 60.0


@contextmanager
def started(store: LocalStore, *words: str) -> Iterator[tuple["subprocess.Popen[bytes]", str, str]]:
    """Run it; gives the process, the address of its probes and that of Triton's HTTP."""
    ports = kept_ports()
    own = ["--dir", store.url, f"--http-port={ports.http}", f"--grpc-port={ports.grpc}", f"--metrics-port={ports.metrics}", "--port=0"]
    process = child([sys.executable, "-m", "reelspace.cli", "search", "shards", *own, *words], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())["url"], f"http://127.0.0.1:{ports.http}"
    finally:
        stop(process)


def until(url: str, path: str, status: int) -> str:
    """Wait for a probe's answer, and give what it says."""
    until_s = time.monotonic() + PATIENCE_S
    while (answer := httpx.get(url + path, timeout=30)).status_code != status:
        assert time.monotonic() < until_s, f"{path}: {answer.status_code} {answer.text}"
        time.sleep(0.05)
    return answer.text


def ready_models(triton: str) -> list[str]:
    return sorted(one["name"] for one in httpx.post(f"{triton}/v2/repository/index", json={"ready": True}).json())


def shards_below(pid: int) -> Sequence[int]:
    """Give the processes of models below a process."""
    found, wanted = [], [pid]
    while wanted:
        parent = wanted.pop()
        told = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(parent)], capture_output=True, text=True, check=False).stdout
        for line in told.splitlines():
            number, _, words = line.strip().partition(" ")
            wanted.append(int(number))
            if words.strip().split()[0].endswith("triton_python_backend_stub"):
                found.append(int(number))
    return found


def test_a_server_has_the_shards_of_its_group_and_says_when_one_is_dead(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    create_collection(store, MADE)
    replace_file(store, Names, NAMES_KEY, lambda names: names.with_collection("things", MADE.full_name))
    declare_groups(store, {"a": ("127.0.0.1:1",), "b": ("127.0.0.1:2",)})
    own = place(store, served_models(store)).shards_of("b")
    assert len(own) == 1
    with started(store, "--group=b", "--drain-s=1") as (process, url, triton):
        until(url, "/startupz", 200)
        until(url, "/readyz", 200)
        assert ready_models(triton) == own
        assert httpx.get(f"{url}/livez", timeout=30).status_code == 200
        (shard,) = shards_below(process.pid)
        os.kill(shard, signal.SIGKILL)
        assert own[0] in until(url, "/livez", 503)
        assert httpx.get(f"{url}/readyz", timeout=30).status_code == 503
        process.terminate()
        assert "ending" in until(url, "/readyz", 503)
        assert process.wait(PATIENCE_S) == 0


def test_without_a_group_it_has_every_shard_and_of_a_group_that_is_not_declared_none(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    create_collection(store, MADE)
    replace_file(store, Names, NAMES_KEY, lambda names: names.with_collection("things", MADE.full_name))
    for words, expected in (((), served_models(store)), (("--group=x",), [])):
        with started(store, *words) as (_, url, triton):
            until(url, "/readyz", 200)
            assert ready_models(triton) == sorted(expected)
