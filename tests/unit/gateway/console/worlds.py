"""A gateway without keys over oracle shards, and its console; with a promoted collection and encoders where they are wanted."""

import json
import struct
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from reelspace.core.local_store import LocalStore
from reelspace.core.settings import read
from reelspace.gateway.app import ServedModels, create_app
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.surroundings import Tell
from reelspace.search.access.backend import Surroundings
from reelspace.search.access.targets import Encoder
from reelspace.search.storage.layout import SPACE_POINTER, Collection, SpacePointer, VectorSettings, json_bytes
from reelspace.serving.signatures import EncoderSizes, media_signature
from reelspace.serving.wire import HEAD_LENGTH

from ....http_server import answering
from ...search.oracle_shard import OracleBackend, create_without_generations

BROWSER = {"Accept": "text/html", "Origin": "http://testserver"}
TRITON_GRPC = "127.0.0.1:9"
SPACE = "00112233aabbccdd"
PROMOTED = Collection(name="videos", space_id=SPACE, vectors={"": VectorSettings(dimension=2, metric="dot")}, num_shards=2)
MAX_BYTES = 1 << 20
MEDIA = media_signature("media_encoder", EncoderSizes(dimension=2), 0, max_bytes=MAX_BYTES)
MODELS = ServedModels({"media_encoder": MEDIA}, {"media_encoder": 1})


@dataclass
class World:
    """The running gateway; `tell` says what becomes of servers."""

    app: FastAPI
    client: TestClient
    backend: OracleBackend
    told: list[Tell] = field(default_factory=list)

    def make(self, name: str, ids: Sequence[int], num_shards: int = 2, **payload: object) -> None:
        """Make a collection whose points lie at their ids on the first axis."""
        made = {"vectors": {"size": 2, "distance": "Dot"}, "shard_number": num_shards}
        assert self.client.put(f"/collections/{name}", json=made).status_code == 200
        if ids:
            self.put(name, ids, **payload)

    def put(self, name: str, ids: Sequence[int], **payload: object) -> None:
        points = [{"id": id, "vector": [id, 1], "payload": payload} for id in ids]
        assert self.client.put(f"/collections/{name}/points?wait=true", json={"points": points}).status_code == 200

    def page(self, collection: str | None = None) -> Response:
        return self.client.get("/console", params={} if collection is None else {"collection": collection}, headers=BROWSER)

    def ask(self, collection: str, by: str, file: bytes | None = None, headers: Mapping[str, str] = BROWSER, **fields: str) -> Response:
        """Send the query box's form as a browser does."""
        given = {"collection": collection, "by": by} | fields
        parts: list[tuple[str, Any]] = [(name, (None, value)) for name, value in given.items()]
        if file is not None:
            parts.append(("clip", ("a clip.mp4", file)))
        return self.client.post("/console/query", files=parts, headers=dict(headers))


@contextmanager
def world(
    directory: Path, encoders: Mapping[str, Encoder] | None = None, *, promoted: bool = False, space: str | None = None, **more: object
) -> Iterator[World]:
    """Serve.

    Args:
        promoted: have a promoted collection, `videos`.
        space: what media_encoder says it embeds into; None serves no such model.
    """
    store = LocalStore(directory / "store")
    if promoted:
        promote(store)
    backend, told = OracleBackend(store), []

    @asynccontextmanager
    async def connect(tell: Tell) -> AsyncIterator[Surroundings]:
        told.append(tell)
        yield Surroundings(backend, lambda _pointer: encoders or {})

    with pytest.MonkeyPatch.context() as patch, nullcontext() if space is None else media_server(space) as address:
        patch.setattr("reelspace.gateway.app.create_collection", create_without_generations)
        triton = {} if address is None else {"triton_grpc": TRITON_GRPC, "triton_http": address}
        settings = read(GatewaySettings, {"store": store.url, "backend": "local"} | triton | more)
        app = create_app(settings, store, connect, None if address is None else MODELS)
        with TestClient(app) as client:
            yield World(app, client, backend, told)


def promote(store: LocalStore) -> None:
    """Write a promoted collection without rows."""
    create_without_generations(store, PROMOTED)
    facts = {"space_id": SPACE, "encoders": {}, "collection": PROMOTED.full_name, "alias": "videos", "generation": 1}
    store.put(SPACE_POINTER, json_bytes(SpacePointer(**facts, previous=None)))


@contextmanager
def media_server(space: str) -> Iterator[str]:
    """Stand in for a Triton whose media_encoder puts a file at its length on the first axis."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            raw = data[int(self.headers[HEAD_LENGTH]) :]
            (length,) = struct.unpack_from("<I", raw)
            outputs = [("EMBEDDING", "FP32", [1, 2], [float(length), 1.0]), ("SPACE_ID", "BYTES", [1, 1], [space])]
            parts = [{"name": name, "datatype": kind, "shape": shape, "data": values} for name, kind, shape, values in outputs]
            self.answer(200, {"model_name": "media_encoder", "model_version": "1", "outputs": parts})

        def answer(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    with answering(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url.removeprefix("http://")
