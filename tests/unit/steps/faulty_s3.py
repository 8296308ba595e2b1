"""A proxy before an S3 server that fails as it is told."""

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import urllib3

from tests.http_server import answering

ACCESS_DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"


class FaultyS3:
    """Passes requests on, except those for which `fault` names one: `403`, `503`, or `reset` (no answer, the connection is reset)."""

    def __init__(self, behind: str) -> None:
        self.fault: Callable[[str, str], str | None] = lambda _method, _path: None
        self.requests: list[tuple[str, str]] = []
        self._behind = behind

    def refuse_writes(self, how: str, below: str = "/state/") -> None:
        """Fail every write of a key that has `below` in it."""
        self.fault = lambda method, path: how if method in ("PUT", "POST", "DELETE") and below in path else None

    def work(self) -> None:
        """Fail no more."""
        self.fault = lambda _method, _path: None

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Give the address to use in the server's place."""
        faulty = self

        class Handler(_Handler):
            behind = self._behind
            pool = urllib3.PoolManager(maxsize=16, retries=False)

            def fault(self) -> str | None:
                faulty.requests.append((self.command, self.path))
                return faulty.fault(self.command, self.path)

        with answering(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as address:
            yield address


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behind: ClassVar[str]
    pool: ClassVar[urllib3.PoolManager]

    def fault(self) -> str | None:
        raise NotImplementedError

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.fault()
        if fault == "reset":
            # Closed with nothing waited for: the other side is sent RST.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif fault is not None:
            self._answer(int(fault), ACCESS_DENIED if fault == "403" else SLOW_DOWN, {"Content-Type": "application/xml"})
        else:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
            found = self.pool.request(self.command, self.behind + self.path, body=body, headers=headers, decode_content=False)
            kept = {name: value for name, value in found.headers.items() if name.lower() not in ("connection", "transfer-encoding")}
            self._answer(found.status, found.data, kept)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        length = headers.get("Content-Length", str(len(body))) if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def finish(self) -> None:
        """End the connection, which may be closed already."""
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""
