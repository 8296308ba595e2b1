"""Triton and the gateway of a finished journey, as child processes that end with it."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
from rich.console import Console

from reelspace.core.errors import ArtifactMissing, ServerUnavailable
from reelspace.core.processes import child, stop
from reelspace.core.store import Store, open_store
from reelspace.serving.triton import TritonProcess

READY_S = 30.0


@dataclass(frozen=True, slots=True)
class Servers:
    """Addresses of the running servers."""

    gateway_url: str
    triton: TritonProcess


def promoted_models(store: Store) -> list[str]:
    """Give the encoders and shard models that `spaces/current.json` points at."""
    if not store.exists("spaces/current.json"):
        raise ArtifactMissing(f"expected a promoted model in {store.url}; run the journey first")
    current = orjson.loads(store.get("spaces/current.json"))
    collection = orjson.loads(store.get(f"collections/{current['collection']}/collection.json"))
    shards = [f"shard-{current['collection']}-{shard}" for shard in range(collection["num_shards"])]
    return [*current["encoders"], *shards]


def free_port() -> int:
    """Ask the kernel for a free port on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_servers(store_url: str, logs: Path) -> Iterator[Servers]:
    """Start Triton with every promoted model and one gateway in front of it; stop both at the end."""
    store = open_store(store_url)
    logs.mkdir(parents=True, exist_ok=True)
    environment = {"REELSPACE_STORE": store_url}
    triton = TritonProcess.start(
        repositories=[f"{store_url}/repository"], models=promoted_models(store), environment=environment, log_path=logs / "triton.log"
    )
    try:
        with running_gateway(store_url, triton, logs / "gateway.log") as url:
            yield Servers(url, triton)
    finally:
        triton.stop()


@contextmanager
def running_gateway(store_url: str, triton: TritonProcess, log_path: Path) -> Iterator[str]:
    """Start one gateway process and give its address."""
    port = free_port()
    command = [sys.executable, "-m", "reelspace.gateway", "--store", store_url, "--port", str(port)]
    command += ["--triton-grpc", f"127.0.0.1:{triton.grpc_port}", "--triton-http", f"127.0.0.1:{triton.http_port}"]
    with log_path.open("wb") as log:
        process = child(command, stdout=subprocess.PIPE, stderr=log)
        try:
            _wait_ready(process, log_path)
            yield f"http://127.0.0.1:{port}"
        finally:
            stop(process)
            if process.stdout is not None:
                process.stdout.close()


def _wait_ready(process: "subprocess.Popen[bytes]", log_path: Path) -> None:
    """Wait for the line that the gateway prints when it answers."""
    timer = threading.Timer(READY_S, process.kill)
    timer.start()
    line = process.stdout.readline() if process.stdout is not None else b""
    timer.cancel()
    if not line:
        raise ServerUnavailable(f"the gateway did not become ready within {READY_S:.0f} s; its log is {log_path}")


def serve_until_interrupted(out: Path) -> None:
    """Keep the servers of `out` up until Ctrl-C or SIGTERM, then stop them cleanly."""
    console = Console()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    signal.signal(signal.SIGINT, lambda *_: stopped.set())
    with running_servers(str((out / "store").resolve()), out / "logs") as servers:
        console.print(f"gateway {servers.gateway_url}   (Ctrl-C stops)")
        console.print(f'  reelspace search "ramen" --url {servers.gateway_url}')
        stopped.wait()
    console.print("stopped")
