"""A gateway with keys: HTTP through the application, gRPC on a port, over oracle shards."""

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from reelspace.core.local_store import LocalStore
from reelspace.core.settings import read
from reelspace.gateway.app import ServedModels, create_app
from reelspace.gateway.keys import new_key
from reelspace.gateway.settings import GatewaySettings

from ..search.access.serving import connect_to
from ..search.oracle_shard import OracleBackend, create_without_generations

VECTORS = {"vectors": {"size": 2, "distance": "Dot"}}


@dataclass
class KeysFile:
    """A file of keys, replaced as a whole whenever it changes; `secrets` by name."""

    path: Path
    secrets: dict[str, str] = field(default_factory=dict)
    lines: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(
        self, name: str, scopes: Sequence[str] = ("read", "write", "admin"), collections: Sequence[str] = ("*",), **limits: object
    ) -> None:
        self.secrets[name], key = new_key(name, scopes, collections)
        self.lines[name] = key.model_dump(mode="json") | limits

    def expire(self, name: str) -> None:
        self.lines[name]["expires_at"] = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()

    def write(self) -> None:
        beside = self.path.with_suffix(".new")
        beside.write_text(json.dumps(list(self.lines.values())))
        os.replace(beside, self.path)


@dataclass
class Guarded:
    """The running gateway and its keys."""

    app: FastAPI
    client: TestClient
    channel: grpc.Channel
    keys: KeysFile
    backend: OracleBackend

    def ask(self, key: str | None, method: str, path: str, body: object = None, **headers: str) -> Response:
        """Ask over HTTP with the key of a name, None for none."""
        shown = {} if key is None else {"api-key": self.keys.secrets.get(key, key)}
        content = None if method in ("GET", "HEAD") else json.dumps({} if body is None else body)
        return self.client.request(method, path, content=content, headers={"Content-Type": "application/json"} | shown | headers)

    def call(self, key: str | None, path: str, message: bytes = b"", **metadata: str) -> grpc.Call:
        """Call over gRPC; what failed is given, too."""
        shown = {} if key is None else {"api-key": self.keys.secrets.get(key, key)}
        try:
            return self.channel.unary_unary(path).with_call(message, timeout=10, metadata=list((shown | metadata).items()))[1]
        except grpc.RpcError as error:
            return error


@contextmanager
def guarded(directory: Path, keys: KeysFile, **more: object) -> Iterator[Guarded]:
    """Serve an empty store to holders of keys."""
    store = LocalStore(directory / "store")
    keys.write()
    given = {"store": store.url, "backend": "local", "triton_grpc": "127.0.0.1:9", "triton_http": "127.0.0.1:9"}
    settings = read(GatewaySettings, given | {"keys_file": str(keys.path)} | more)
    backend = OracleBackend(store)
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as listener:
        patch.setattr("reelspace.gateway.app.create_collection", create_without_generations)
        app = create_app(settings, store, connect_to(backend), ServedModels({}, {}))
        app.state.grpc_listener = listener
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with TestClient(app) as client, grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            yield Guarded(app, client, channel, keys, backend)
