"""A stand-in for Triton that speaks V2 over HTTP with code of its own, and keeps what reached it.

It doubles X; -1 it calls wrong, 99 takes it a second, 404 it forgets to answer, 500 fails it.
"""

import json
import re
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HEAD_LENGTH = "Inference-Header-Content-Length"
SLOW_S = 1.0
_INFER = re.compile(r"/v2/models/(\w+)(?:/versions/(\d+))?/infer")


@dataclass
class Came:
    """One inference that reached Triton."""

    model: str
    version: str | None
    head: dict[str, Any]
    raw: bytes
    headers: dict[str, str]


@dataclass
class Double:
    """The stand-in, and the inferences that reached it."""

    address: str = ""
    came: list[Came] = field(default_factory=list)


@contextmanager
def running_double() -> Iterator[Double]:
    double = Double()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            self.answer(200, {"name": "doubling", "versions": ["1", "2"]})

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            found = _INFER.fullmatch(self.path)
            assert found is not None, self.path
            head_length = int(self.headers[HEAD_LENGTH])
            head = json.loads(data[:head_length])
            double.came.append(Came(found[1], found[2], head, data[head_length:], headers_of(self)))
            self.answer(*answer_of(found[1], found[2] or "2", head, data[head_length:]))

        def answer(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                self.close_connection = True  # whoever asked waits no longer

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None: ...

    with Server(("127.0.0.1", 0), Handler) as server:
        double.address = f"127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield double
        server.shutdown()


def headers_of(request: BaseHTTPRequestHandler) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


def answer_of(model: str, version: str, head: dict[str, Any], raw: bytes) -> tuple[int, dict[str, Any]]:
    rows = head["inputs"][0]["shape"][0]
    if model == "text_encoder":
        lengths = []
        while raw:
            (length,) = struct.unpack_from("<I", raw)
            lengths.append(length)
            raw = raw[4 + length :]
        embedding = [value for length in lengths for value in (float(length), 1.0)]
        outputs = [("EMBEDDING", "FP32", [rows, 2], embedding), ("SPACE_ID", "BYTES", [rows, 1], ["space-1"] * rows)]
    else:
        values = struct.unpack(f"<{2 * rows}f", raw)
        if -1 in values:
            return 400, {"error": "X: expected no negative number"}
        if 500 in values:
            return 500, {"error": "the model's process is gone"}
        if 99 in values:
            time.sleep(SLOW_S)
        outputs = [] if 404 in values else [("Y", "FP32", [rows, 2], [2 * value for value in values])]
    parts = [{"name": name, "datatype": datatype, "shape": shape, "data": data} for name, datatype, shape, data in outputs]
    return 200, {"model_name": model, "model_version": version, "outputs": parts}
