"""`reelspace search serve` with API keys, as a process, and connections to it."""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import orjson

from reelspace.core.processes import child, stop
from reelspace.gateway.keys import new_key

SCOPES = ("read", "write", "admin")


@dataclass(frozen=True)
class Tenant:
    """Who asks, what is his, and how much he may ask for."""

    name: str
    collections: tuple[str, ...]
    concurrent: int | None = None


@dataclass(frozen=True)
class KeyedServer:
    """A running server; `secrets` by the names of the tenants."""

    url: str
    grpc: str
    pid: int
    secrets: dict[str, str]
    log: Path


class Connection:
    """One connection over HTTP that shows a tenant's key, for one thread at a time."""

    def __init__(self, server: KeyedServer, tenant: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
        self._headers = {"Content-Type": "application/json", "api-key": server.secrets[tenant]}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def send(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Ask, and give the status and body of the answer."""
        self._connection.request(method, path, None if body is None else orjson.dumps(body), self._headers)
        response = self._connection.getresponse()
        return response.status, response.read()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask, and give the result."""
        status, data = self.send(method, path, body)
        assert status == 200, (status, data)
        return orjson.loads(data)["result"]


@contextmanager
def keyed_server(folder: Path, tenants: Sequence[Tenant]) -> Iterator[KeyedServer]:
    """Serve an empty directory to tenants."""
    made = {one.name: new_key(one.name, SCOPES, one.collections) for one in tenants}
    lines = [made[one.name][1].model_dump(mode="json") | {"concurrent": one.concurrent} for one in tenants]
    (folder / "keys.json").write_text(json.dumps(lines))
    command = [sys.executable, "-m", "reelspace.cli", "search", "serve", "--dir", str(folder / "store"), "--port", "0", "--grpc-port", "0"]
    command += ["--keys", str(folder / "keys.json"), "--access-log"]
    log = folder / "server.log"
    with log.open("wb") as errors:
        process = child(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, log.read_text()
            told = orjson.loads(line)
            yield KeyedServer(told["url"], told["grpc"], told["pid"], {name: secret for name, (secret, _) in made.items()}, log)
        finally:
            stop(process)
            process.stdout.close()
