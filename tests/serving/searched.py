"""A whole gateway with a promoted collection, in front of models whose vectors can be told.

The vector of a file is its first two bytes, that of a picture its first two colours, that of a text its length and 1. The collection
has the works 1 at [1, 0], 2 at [0, 1] and 3 between them; words that are searched mean [0, 1].
"""

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from reelspace.core.local_store import LocalStore
from reelspace.gateway.app import ServedModels
from reelspace.search.storage.layout import SPACE_POINTER, Collection, SpacePointer, VectorSettings, json_bytes
from reelspace.serving.signatures import EncoderSizes, Signature, TensorSpec, text_signature, video_signature

from ..http_server import answering
from ..unit.search.access.serving import connect_to
from ..unit.search.access.serving import serving as serving_here
from ..unit.search.access.worlds import Constant
from ..unit.search.oracle_shard import OracleBackend, create_without_generations

SPACE, OTHER_SPACE = "0123456789abcdef", "fedcba9876543210"
SIDE = 4
VIDEO_ENCODER = video_signature("video_encoder", EncoderSizes(2, 2, SIDE, SIDE, 8))
MEDIA_ENCODER = Signature(
    "media_encoder", (TensorSpec("MEDIA", "BYTES", (1,)), TensorSpec("TEXT", "BYTES", (1,))), VIDEO_ENCODER.outputs, max_batch=4
)
TEXT_ENCODER = text_signature("text_encoder", EncoderSizes(dimension=2))
POINTS = [
    {"id": 1, "vector": [1, 0], "payload": {"kind": "video"}},
    {"id": 2, "vector": [0, 1], "payload": {"kind": "image"}},
    {"id": 3, "vector": [0.6, 0.8], "payload": {"kind": "video"}},
]


@dataclass
class Models:
    """The stand-in for Triton: the space that its vectors are of."""

    space_id: str = SPACE


@dataclass
class Searched:
    url: str
    models: Models


@contextmanager
def searched(folder: Path) -> Iterator[Searched]:
    """Serve both in this process."""
    store, models = LocalStore(folder), Models()
    promote(store)
    served = ServedModels({one.model: one for one in (TEXT_ENCODER, VIDEO_ENCODER, MEDIA_ENCODER)}, {})
    connect = connect_to(OracleBackend(store), {"text_encoder": Constant(0, 1)})
    with answering(ThreadingHTTPServer(("127.0.0.1", 0), handler_of(models))) as triton_url:
        address = triton_url.removeprefix("http://")
        with serving_here(store, connect, served, triton_http=address, triton_grpc="127.0.0.1:9") as url:
            httpx.put(f"{url}/collections/videos/points?wait=true", json={"points": POINTS}, trust_env=False).raise_for_status()
            yield Searched(url, models)


def promote(store: LocalStore) -> None:
    collection = Collection(name="videos", space_id=SPACE, vectors={"": VectorSettings(dimension=2)}, num_shards=1)
    create_without_generations(store, collection)
    encoders = {"text_encoder": 1}
    pointer = SpacePointer(space_id=SPACE, encoders=encoders, collection=collection.full_name, alias="videos", generation=1, previous=None)
    store.put(SPACE_POINTER, json_bytes(pointer))


def handler_of(models: Models) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            self.answer({"versions": ["1"]})

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            length = int(self.headers["Inference-Header-Content-Length"])
            self.answer(answer_of(self.path.split("/")[3], json.loads(data[:length]), data[length:], models.space_id))

        def answer(self, value: dict[str, Any]) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    return Handler


def answer_of(model: str, head: dict[str, Any], raw: bytes, space_id: str) -> dict[str, Any]:
    rows, size = head["inputs"][0]["shape"][0], head["inputs"][0]["parameters"]["binary_data_size"]
    assert head["inputs"][0]["name"] == {"media_encoder": "MEDIA", "video_encoder": "FRAMES", "text_encoder": "TEXT"}[model]
    values: list[float] = []
    for _ in range(rows):
        row_size = size // rows if model == "video_encoder" else 4 + struct.unpack_from("<I", raw)[0]
        values += {"media_encoder": raw[4:6], "video_encoder": raw[:2], "text_encoder": [row_size - 4, 1]}[model]
        raw = raw[row_size:]
    outputs = [("EMBEDDING", "FP32", [rows, 2], values), ("SPACE_ID", "BYTES", [rows, 1], [space_id] * rows)]
    parts = [{"name": name, "datatype": datatype, "shape": shape, "data": data} for name, datatype, shape, data in outputs]
    return {"model_name": model, "model_version": "1", "outputs": parts}
