"""uvicorn's HTTP/1.1 with bounds: of a request's head, in bytes and in time, and of connections."""

import asyncio
from http import HTTPStatus
from typing import Any, Final

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES: Final = 16_384
HEAD_S: Final = 10.0
MAX_CONNECTIONS: Final = 4096


class HeadTooLarge(Exception):
    """Ends the parsing of a head."""


class BoundedHttp(HttpToolsProtocol):
    """One connection.

    A head of more than MAX_HEAD_BYTES is refused with 431, one that is not whole HEAD_S after its first byte with 408, and a connection
    that says nothing for as long is closed. With more than MAX_CONNECTIONS one without a request makes room, the new one if all have
    one: so idle connections keep nobody out. uvicorn itself waits, and reads, for ever.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._head_bytes = self._known_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._is_in_head = self._is_given_up = False

    @property
    def is_idle(self) -> bool:
        """Tell whether no request is being answered here."""
        return not self._is_given_up and (self.cycle is None or self.cycle.response_complete)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head; make room where there are too many."""
        if len(self.connections) >= MAX_CONNECTIONS:
            leaving = next((one for one in self.connections if isinstance(one, BoundedHttp) and one.is_idle), self)
            leaving._is_given_up = True
            (transport if leaving is self else leaving.transport).abort()
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._await_no_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before a head is whole: the parser gives headers only when they are."""
        super().data_received(data)
        if self._is_in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, f"head: expected at most {MAX_HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        """Begin to count and to wait."""
        super().on_message_begin()
        self._head_bytes, self._known_bytes, self._is_in_head = 0, 0, True
        self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count what comes in one piece."""
        self._known_bytes += len(name) + len(value)
        if self._known_bytes + len(self.url) > MAX_HEAD_BYTES:
            raise HeadTooLarge  # the parser ends, and `send_400_response` is called
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Wait no more, and let the request begin."""
        self._is_in_head = False
        self._await_no_head()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or too much of it, in the dialect's shape."""
        if self._is_in_head and self._known_bytes + len(self.url) > MAX_HEAD_BYTES:
            self._refuse(431, f"head: expected at most {MAX_HEAD_BYTES} bytes")
        else:
            self._refuse(400, "request: expected HTTP/1.1")

    def _await_head(self) -> None:
        self._await_no_head()
        self._head_timer = self.loop.call_later(HEAD_S, self._give_up)

    def _await_no_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._await_head()  # the next request may be slow while one is answered
        elif self._is_in_head:
            self._refuse(408, f"head: expected all of it within {HEAD_S:.3g} s")
        else:
            self.transport.close()

    def _refuse(self, status: int, message: str) -> None:
        body = orjson.dumps({"status": {"error": message}, "result": None, "time": 0.0})
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()
