"""What the benchmark runs: Triton with the models, a gateway and an empty pass-through before it, ONNX Runtime alone, and the clients."""

import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import orjson

from benchmarks.record import ROOT
from benchmarks.search_peers.processes import tail
from benchmarks.serving_parts.models import MODELS, Requests, graph_row, requests_of
from benchmarks.serving_parts.passthrough import INFER
from benchmarks.serving_parts.worker import Worker
from reelspace.core.processes import child, stop
from reelspace.serving.signatures import Signature
from reelspace.serving.triton import TritonProcess
from reelspace.serving.upstream import fetch_signatures
from reelspace.serving.version import GRAPH_FILE

TRITON, GATEWAY, PASSING = "triton", "gateway", "pass-through"
HTTP, GRPC = "http", "grpc"
_NANO: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Place:
    """A server that is asked: its process, None where it is not looked at, and its address by face."""

    pid: int | None
    addresses: Mapping[str, str]


@dataclass(slots=True)
class Bed:
    """Everything that runs."""

    triton: TritonProcess
    places: Mapping[str, Place]
    signatures: Mapping[str, Signature]
    sender: Worker
    bare: Worker
    _named: set[str] = field(default_factory=set)

    def requests(self, model: str, num_rows: int = 1) -> Requests:
        """Write requests of a model."""
        return requests_of(self.signatures[MODELS[model]], num_rows)

    def way(self, place: str, face: str, requests: Requests, what: str) -> str:
        """Give the sender a way to ask, once; gives its name."""
        name = f"{place} {face} {what}"
        if name in self._named:
            return name
        self._named.add(name)
        address = self.places[place].addresses[face]
        if face == HTTP:
            path = f"/v2/models/{requests.model}/infer"
            self.sender.ask("over_http", name=name, url=address, path=path, bodies=_texts(requests.bodies), headers=requests.headers)
        else:
            self.sender.ask("over_grpc", name=name, address=address, method=INFER, messages=_texts(requests.messages))
        return name

    def cpu_s(self, place: str) -> float:
        """Give the processor seconds of a server."""
        pid = self.places[place].pid
        return 0.0 if pid is None else threads_cpu_s(pid)

    def batches(self, model: str) -> tuple[float, float]:
        """Give how many rows Triton inferred of a model, and in how many batches."""
        text = httpx.get(f"http://127.0.0.1:{self.triton.metrics_port}/metrics", trust_env=False).text
        rows, batches = (metric(text, name, MODELS[model]) for name in ("nv_inference_count", "nv_inference_exec_count"))
        return rows, batches


@contextmanager
def running(repository: Path, folder: Path) -> Iterator[Bed]:
    """Start everything; it ends with the block."""
    with ExitStack() as stack:
        triton = stack.enter_context(TritonProcess.start([repository], list(MODELS.values()), log_path=folder / "triton.log"))
        http = triton.http_url.removeprefix("http://")
        given = {"store": str(folder / "gateway"), "backend": "local", "port": 0, "grpc_port": 0}
        given |= {"triton_http": http, "triton_grpc": triton.grpc_address}
        settings, models = (orjson.dumps(value).decode() for value in (given, list(MODELS.values())))
        gateway, told = stack.enter_context(_program(folder, "gateway", settings, models))
        passing, passed = stack.enter_context(_program(folder, "passthrough", triton.grpc_address))
        places = {
            TRITON: Place(None, {HTTP: triton.http_url, GRPC: triton.grpc_address}),
            GATEWAY: Place(gateway.pid, {HTTP: told["url"], GRPC: told["grpc"]}),
            PASSING: Place(passing.pid, {GRPC: passed["grpc"]}),
        }
        sender, bare = (Worker(module, folder / f"{module}.log") for module in ("sender", "bare"))
        stack.callback(sender.close)
        stack.callback(bare.close)
        signatures = fetch_signatures(triton.http_url, list(MODELS.values()))
        for name, model in MODELS.items():
            version = repository / model / "1"
            np.savez(folder / f"{name}.npz", **graph_row(version, signatures[model]))
            bare.ask("open", model=name, graph=str(version / GRAPH_FILE), row=str(folder / f"{name}.npz"))
        yield Bed(triton, places, signatures, sender, bare)


@contextmanager
def _program(folder: Path, module: str, *words: str) -> "Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]":
    """Start a program of the benchmark; gives it with what its first line told."""
    log = folder / f"{module}.log"
    with log.open("wb") as errors:
        process = child(
            [sys.executable, "-m", f"benchmarks.serving_parts.{module}", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{module} did not start: {tail(log)}")
        yield process, orjson.loads(line)
    finally:
        stop(process)
        process.stdout.close()


def threads_cpu_s(pid: int) -> float:
    """Give the processor seconds of a process's threads, which the scheduler counts in nanoseconds; of ended ones nothing."""
    found = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        found += int((thread / "schedstat").read_text().split()[0])
    return found * _NANO


def metric(text: str, name: str, model: str) -> float:
    """Sum a counter of one model over its versions, from Prometheus' text format."""
    found = 0.0
    for line in text.splitlines():
        if line.startswith(f"{name}{{") and f'model="{model}"' in line:
            found += float(line.rsplit(" ", 1)[1])
    return found


def _texts(contents: Sequence[bytes]) -> list[str]:
    return [b64encode(content).decode() for content in contents]
