"""An HTTP proxy before an S3 server, which answers late, in part, falsely or not at all for a while.

Requests go on as they came, so their signatures, which cover the host, stay good.
"""

import http.client
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs, urlsplit

HOP_HEADERS: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
SERVER_S: Final = 30.0
AT_ONCE_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Request:
    """A request of a client, whole."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def is_list(self) -> bool:
        """Tell whether it lists keys."""
        return self.method == "GET" and "list-type" in parse_qs(urlsplit(self.target).query)

    @property
    def is_read(self) -> bool:
        """Tell whether it reads an object."""
        return self.method == "GET" and not self.is_list and urlsplit(self.target).path.count("/") > 1

    @property
    def is_conditional(self) -> bool:
        """Tell whether it writes an object under a condition."""
        return self.method == "PUT" and any(name.lower() in ("if-match", "if-none-match") for name, _ in self.headers)


@dataclass(frozen=True)
class Answer:
    """What goes back.

    Attributes:
        told_bytes: the length that is told, if it is not that of the body.
        is_reset: whether the connection is reset after the body.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    told_bytes: int | None = None
    is_reset: bool = False


Server = Callable[[Request], Answer]
Fault = Callable[[Request, Server, random.Random], Answer | None]
"""Answers a request in the server's place, or lets it do so; None: the fault is not for this request."""


def error(status: int, code: str) -> Answer:
    """Give an answer as S3 writes errors."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>made up</Message><Resource>/</Resource></Error>"
    return Answer(status, (("Content-Type", "application/xml"),), body.encode())


def bursts_of_503(_request: Request, _server: Server, draw: random.Random) -> Answer | None:
    """Refuse three of four."""
    return error(503, "SlowDown") if draw.random() < 0.75 else None


def slow(request: Request, server: Server, draw: random.Random) -> Answer | None:
    """Take 2 to 5 s for every third."""
    if draw.random() < 0.67:
        return None
    time.sleep(draw.uniform(2.0, 5.0))
    return server(request)


def reset(request: Request, server: Server, draw: random.Random) -> Answer | None:
    """Reset the connection after some bytes of the body, of requests of every kind."""
    return _cut(server(request), draw, is_reset=True) if draw.random() < 0.5 else None


def cut_off(request: Request, server: Server, draw: random.Random) -> Answer | None:
    """Close the connection before all bytes that were told came."""
    return _cut(server(request), draw, is_reset=False) if request.method == "GET" and draw.random() < 0.5 else None


def shortened(request: Request, server: Server, draw: random.Random) -> Answer | None:
    """Give a part of an object, and tell its length as if it were all."""
    answer = server(request) if request.is_read and draw.random() < 0.5 else None
    if answer is None or answer.status not in (200, 206) or not answer.body:
        return answer
    return replace(answer, body=answer.body[: draw.randrange(len(answer.body))])


def wrong_tags(request: Request, server: Server, draw: random.Random) -> Answer | None:
    """Tell a tag that the object does not have."""
    if draw.random() < 0.5:
        return None
    answer = server(request)
    tag = f'"{draw.randbytes(16).hex()}"'
    return replace(answer, headers=tuple((name, tag if name.lower() == "etag" else value) for name, value in answer.headers))


class StaleLists:
    """Gives lists as they were when each was asked for first; use one for one while."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}

    def __call__(self, request: Request, server: Server, draw: random.Random) -> Answer | None:
        """Give the old list."""
        if not request.is_list:
            return None
        if request.target not in self._answers:
            self._answers[request.target] = server(request)
        return self._answers[request.target]


def forbidden(_request: Request, _server: Server, draw: random.Random) -> Answer | None:
    """Let nobody do half of what he asks for."""
    return error(403, "AccessDenied") if draw.random() < 0.5 else None


def missing(request: Request, server: Server, draw: random.Random) -> Answer | None:
    """Find no object where HEAD finds one."""
    return error(404, "NoSuchKey") if request.is_read and draw.random() < 0.5 else None


def lost_412(request: Request, server: Server, draw: random.Random) -> Answer | None:
    """Do a conditional write, and say that its condition does not hold, as a proxy that sends again what was not answered does."""
    if not request.is_conditional or draw.random() < 0.5:
        return None
    server(request)
    return error(412, "PreconditionFailed")


def false_412(request: Request, _server: Server, draw: random.Random) -> Answer | None:
    """Say that the condition of a write does not hold, which was not tried."""
    return error(412, "PreconditionFailed") if request.is_conditional and draw.random() < 0.5 else None


def faults() -> dict[str, Fault]:
    """Give every kind by its name."""
    plain = (bursts_of_503, slow, reset, cut_off, shortened, wrong_tags, forbidden, missing, lost_412, false_412)
    return {fault.__name__: fault for fault in plain} | {"stale_lists": StaleLists()}


def _cut(answer: Answer, draw: random.Random, *, is_reset: bool) -> Answer:
    size = len(answer.body)
    return replace(answer, body=answer.body[: draw.randrange(size) if size else 0], told_bytes=size, is_reset=is_reset)


class FaultyStore:
    """The proxy; `fault` answers while it is set, and `num_faults` counts what it answered."""

    def __init__(self, server: str, seed: int) -> None:
        self.server = server
        self.fault: Fault | None = None
        self.num_faults = 0
        self._draw = random.Random(seed)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._port = 0
        self._listen()

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"127.0.0.1:{self._port}"

    def answer(self, request: Request, server: Server) -> Answer:
        """Answer a request as the fault wants, or as the server does."""
        fault = self.fault
        with self._lock:
            draw = random.Random(self._draw.randrange(1 << 62))
        found = None if fault is None else fault(request, server, draw)
        if found is None:
            return server(request)
        with self._lock:
            self.num_faults += 1
        return found

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Let a fault answer while the block runs."""
        self.fault = fault
        try:
            yield
        finally:
            self.fault = None

    @contextmanager
    def away(self) -> Iterator[None]:
        """Refuse every connection, and break those that are there, while the block runs."""
        self.close()
        try:
            yield
        finally:
            self._listen()

    def close(self) -> None:
        """Listen no more, and break every connection."""
        self._listener.shutdown()
        self._listener.server_close()
        with self._lock:
            connections = list(self._open)
        for one in connections:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def opened(self, connection: socket.socket) -> None:
        """Hear of a connection."""
        with self._lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """Hear that one is gone."""
        with self._lock:
            self._open.discard(connection)

    def _listen(self) -> None:
        proxy = self

        class Handler(_Handler):
            store = proxy

        self._listener = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._listener.server_port
        threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    store: FaultyStore

    def setup(self) -> None:
        super().setup()
        self.store.opened(self.connection)

    def finish(self) -> None:
        self.store.closed(self.connection)
        with suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, tuple(self.headers.items()), body)
        self._write(self.store.answer(request, self._ask))

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        """Tell nothing."""

    def _ask(self, request: Request) -> Answer:
        host, _, port = self.store.server.rpartition(":")
        with closing(http.client.HTTPConnection(host, int(port), timeout=SERVER_S)) as server:
            server.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers:
                server.putheader(name, value)
            server.endheaders(request.body or None)
            response = server.getresponse()
            body, headers = response.read(), tuple(response.getheaders())
        if request.method == "HEAD":
            return Answer(response.status, headers, b"", int(response.headers.get("Content-Length") or 0))
        return Answer(response.status, headers, body)

    def _write(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            if name.lower() not in HOP_HEADERS:
                self.send_header(name, value)
        told = len(answer.body) if answer.told_bytes is None else answer.told_bytes
        if answer.status != http.HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(told))
        self.end_headers()
        self.wfile.write(answer.body)
        if answer.is_reset:
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE_RESET)
        if self.command != "HEAD" and (answer.is_reset or told != len(answer.body)):
            self.close_connection = True


@contextmanager
def faulty_store(server: str, seed: int) -> Iterator[FaultyStore]:
    """Stand before a server while the block runs."""
    proxy = FaultyStore(server, seed)
    try:
        yield proxy
    finally:
        proxy.close()
