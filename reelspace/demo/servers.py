"""Triton and the gateway of a finished journey, as child processes that end with it."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import orjson
from rich.console import Console

from reelspace.core.errors import ServerUnavailable
from reelspace.core.processes import child, stop
from reelspace.core.store import Store, open_store
from reelspace.search.access.served import read_served
from reelspace.search.storage.layout import shard_model
from reelspace.serving.triton import TritonProcess
from reelspace.serving.watch.process import watching

READY_S = 30.0


@dataclass(frozen=True, slots=True)
class Servers:
    """Addresses of the running servers."""

    gateway_url: str
    triton: TritonProcess


def promoted_models(store: Store) -> list[str]:
    """Give the encoders and shard models that `spaces/current.json` points at."""
    served = read_served(store)
    collection = served.collection
    return [*served.encoders, *(shard_model(collection.full_name, shard) for shard in range(collection.num_shards))]


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
    command = [sys.executable, "-m", "reelspace.gateway", "--store", store_url, "--port", "0"]
    command += ["--triton-grpc", triton.grpc_address, "--triton-http", triton.http_url.removeprefix("http://")]
    with log_path.open("wb") as log:
        process = child(command, stdout=subprocess.PIPE, stderr=log)
        try:
            yield _ready_url(process, log_path)
        finally:
            stop(process)
            if process.stdout is not None:
                process.stdout.close()


def _ready_url(process: "subprocess.Popen[bytes]", log_path: Path) -> str:
    """Wait for the line that the gateway prints once it answers."""
    timer = threading.Timer(READY_S, process.kill)
    timer.start()
    line = process.stdout.readline() if process.stdout is not None else b""
    timer.cancel()
    if not line:
        raise ServerUnavailable(f"the gateway did not become ready within {READY_S:.0f} s; its log is {log_path}")
    return str(orjson.loads(line)["url"])


def _watching(triton: TritonProcess, models: Sequence[str], log_path: Path) -> AbstractContextManager[int | None]:
    metrics = f"http://127.0.0.1:{triton.metrics_port}"
    return watching(triton.http_url, models, log_path, "--metrics", metrics, "--grpc", triton.grpc_address)


def serve_until_interrupted(out: Path) -> None:
    """Keep the servers of `out` up until Ctrl-C or SIGTERM, then stop them cleanly."""
    console = Console()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    signal.signal(signal.SIGINT, lambda *_: stopped.set())
    store_url = str((out / "store").resolve())
    encoders = sorted(read_served(open_store(store_url)).encoders)
    # Shards are not watched: they come and go with generations, and the gateway follows those.
    with (
        running_servers(store_url, out / "logs") as servers,
        _watching(servers.triton, encoders, out / "logs" / "watch.log") if encoders else nullcontext(),
    ):
        console.print(f"gateway {servers.gateway_url}   (Ctrl-C stops)")
        console.print(f'  reelspace search query "ramen" --url {servers.gateway_url}')
        stopped.wait()
    console.print("stopped")
