"""A gateway that answers as it is told to: what a client does about it can be counted.

Where nothing is told, it answers: of `text_encoder` the length of each text in bytes, and 1; of a query, the one hit 7.
"""

import json
import ssl
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ..http_server import answering

HEAD_LENGTH = "Inference-Header-Content-Length"
MEET_S = 10.0
METADATA = {
    "name": "text_encoder",
    "versions": ["3"],
    "platform": "reelspace",
    "inputs": [{"name": "TEXT", "datatype": "BYTES", "shape": [-1, 1]}],
    "outputs": [{"name": "EMBEDDING", "datatype": "FP32", "shape": [-1, 2]}, {"name": "SPACE_ID", "datatype": "BYTES", "shape": [-1, 1]}],
    "parameters": {"max_batch_size": 4, "optional_inputs": []},
}


@dataclass(frozen=True)
class Step:
    """How one request is met, after `wait_s` and not before `meets` of them are there: the connection `closes`, or a status is answered.

    It is answered byte by byte if it `drips`.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    wait_s: float = 0.0
    meets: int = 0
    closes: bool = False
    drips: bool = False


@dataclass
class Came:
    """A request that came, and the connection that it came over."""

    path: str
    headers: dict[str, str]
    head: dict[str, Any]
    connection: tuple[str, int]


@dataclass
class Script:
    """`steps` are used up by the requests that are no questions for metadata; `space_ids` by inferences, the last one stays."""

    url: str = ""
    steps: list[Step] = field(default_factory=list)
    space_ids: list[str] = field(default_factory=lambda: ["space-1"])
    metadata: dict[str, Any] = field(default_factory=lambda: METADATA)
    came: list[Came] = field(default_factory=list)
    described: int = 0
    running: int = 0
    most_running: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_step(self) -> Step:
        with self.lock:
            return self.steps.pop(0) if self.steps else Step()

    def next_space_id(self) -> str:
        with self.lock:
            return self.space_ids.pop(0) if len(self.space_ids) > 1 else self.space_ids[0]

    def enter(self, by: int) -> None:
        with self.lock:
            self.running += by
            self.most_running = max(self.most_running, self.running)


@contextmanager
def scripted(tls: ssl.SSLContext | None = None) -> Iterator[Script]:
    """Answer, over TLS where it is given."""
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            script.described += 1
            self.answer(Step(), json.dumps(script.metadata).encode())

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            length = int(self.headers.get(HEAD_LENGTH, len(data)))
            head, step = json.loads(data[:length]), script.next_step()
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.came.append(Came(self.path, headers, head, self.client_address))
            script.enter(1)
            time.sleep(step.wait_s)
            end_s = time.monotonic() + MEET_S
            while script.most_running < step.meets and time.monotonic() < end_s:
                time.sleep(0.005)
            script.enter(-1)
            if step.closes:
                self.close_connection = True
            elif step.body is not None or step.status != 200:
                self.answer(step, step.body or b"")
            elif self.path.startswith("/v2/"):
                self.answer(step, inference(head, data[length:], script.next_space_id()))
            else:
                points = [{"id": 7, "version": 0, "score": 0.5, "payload": {"kind": "video"}}]
                self.answer(step, json.dumps({"result": {"points": points, "space_id": script.next_space_id()}}).encode())

        def answer(self, step: Step, body: bytes) -> None:
            try:
                self.send_response(step.status)
                for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **step.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                for part in [body[at : at + 1] for at in range(len(body))] if step.drips else [body]:
                    self.wfile.write(part)
                    if step.drips:
                        self.wfile.flush()
                        time.sleep(0.02)
            except OSError:
                self.close_connection = True  # whoever asked waits no longer

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None: ...

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    with answering(server) as url:
        script.url = url if tls is None else url.replace("http:", "https:")
        yield script


def inference(head: dict[str, Any], raw: bytes, space_id: str) -> bytes:
    lengths = []
    while raw:
        (length,) = struct.unpack_from("<I", raw)
        lengths.append(length)
        raw = raw[4 + length :]
    embedding = [value for length in lengths for value in (float(length), 1.0)]
    outputs = [
        {"name": "EMBEDDING", "datatype": "FP32", "shape": [len(lengths), 2], "data": embedding},
        {"name": "SPACE_ID", "datatype": "BYTES", "shape": [len(lengths), 1], "data": [space_id] * len(lengths)},
    ]
    parameters = {"space_id": space_id} if space_id else {}
    return json.dumps({"model_name": "text_encoder", "model_version": "3", "parameters": parameters, "outputs": outputs}).encode()
