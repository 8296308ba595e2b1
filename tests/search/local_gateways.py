"""Real gateway processes that hold their shards themselves, with a port of the operators'; and an S3 server that a test may kill."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import pytest
import urllib3

from reelspace.core.processes import child, stop

PROGRAM = (sys.executable, "-m", "reelspace.gateway")
PATIENCE_S = 60.0


@dataclass(frozen=True)
class LocalGateway:
    """A process that answers."""

    url: str
    admin: str
    process: "subprocess.Popen[bytes]"
    log: Path
    grpc: str = ""

    def get(self, path: str, timeout_s: float = 30.0) -> httpx.Response:
        """Ask on the operators' port."""
        return httpx.get(f"{self.admin}{path}", timeout=timeout_s)


def command_of(store_url: str, *options: str, program: Sequence[str] = PROGRAM) -> list[str]:
    """Give the command of a gateway with its shards in it, on free ports."""
    return [*program, "--store", store_url, "--backend", "local", "--port", "0", "--admin-port", "0", *options]


@contextmanager
def local_gateway(
    store_url: str, log: Path, *options: str, environment: Mapping[str, str] | None = None, program: Sequence[str] = PROGRAM
) -> Iterator[LocalGateway]:
    """Start a gateway and wait for its line; it ends with the context, if it has not ended before.

    Args:
        environment: all of it; None: this process's own.
    """
    with log.open("ab") as errors:
        process = child(command_of(store_url, *options, program=program), env=environment, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, log.read_text()
            ready = orjson.loads(line)
            yield LocalGateway(ready["url"], f"http://{ready['admin']}", process, log, ready.get("grpc", ""))
        finally:
            stop(process)
            process.stdout.close()


@dataclass(frozen=True)
class S3Server:
    """A server with a bucket; `url` is that of a store in it."""

    address: str
    url: str
    process: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()


@contextmanager
def s3_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """Start a server of one test's own, and set the environment that opens its store."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = child(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        assert urllib3.request("PUT", f"http://127.0.0.1:{port}/bucket").status == 200
        monkeypatch.setenv("REELSPACE_S3_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield S3Server(f"127.0.0.1:{port}", "s3://bucket/some/prefix", process)
    finally:
        stop(process)


def _wait_for(port: int) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=2.0).close()
        except OSError:
            assert time.monotonic() < deadline_s, "the S3 server does not answer"
            time.sleep(0.1)
        else:
            return
