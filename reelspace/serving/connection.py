"""Connections of HTTP/1.1 to one server, kept between requests: the gateway's side towards Triton.

One request at a time goes over a connection, and one that ends otherwise than with its whole answer closes it, so no answer can meet
a later request. Written for many small requests: one write and a few callbacks each.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import quote, urlsplit

import httptools

from reelspace.core.errors import ServerUnavailable, SettingError
from reelspace.serving.wire import HEAD_LENGTH

IDLE_S: Final = 15.0
MAX_IDLE: Final = 64
JOINED_BYTES: Final = 65_536
PIECE_BYTES: Final = 1 << 18
FIRST_FINAL_STATUS: Final = 200
_HEAD_LENGTH: Final = HEAD_LENGTH.lower().encode()


class ConnectionEnded(ServerUnavailable):
    """The connection ended before the answer was whole; `had_begun` tells whether any of the answer came."""

    def __init__(self, message: str, *, had_begun: bool) -> None:
        super().__init__(message)
        self.had_begun = had_begun


@dataclass(frozen=True, slots=True)
class Reply:
    """A response, read whole."""

    status: int
    body: bytes
    head_length: str | None


class Connections:
    """The connections to one server; they belong to the event loop that runs when they are first asked."""

    def __init__(self, url: str) -> None:
        """Name the server, as http://host:port; SettingError if it is named otherwise."""
        place = urlsplit(url)
        if place.scheme != "http" or not place.hostname:
            raise SettingError(f"Triton's address: expected http://host:port, got {url!r:.80}")
        self._host, self._port = place.hostname, place.port or 80
        self._base, self._named = place.path.rstrip("/"), place.netloc
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []

    @property
    def num_open(self) -> int:
        """Give the number of connections, idle ones among them."""
        return len(self._open)

    async def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Reply:
        """Send one request and read its answer.

        Cancelling it closes its connection. Bodies of more than JOINED_BYTES are sent in pieces as the server takes them, without
        a copy of the whole.

        Raises:
            ServerUnavailable: the server cannot be reached, or what it gives is no whole answer.
        """
        head = self._head(method, path, headers, len(body))
        kept = self._kept()
        if kept is not None:
            try:
                return await self._over(kept, head, body)
            except ConnectionEnded as error:
                # The server may close a connection that was idle just when it is asked again, and inferences change nothing.
                if error.had_begun:
                    raise
        return await self._over(await self._connected(), head, body)

    def close(self) -> None:
        """Close every connection; requests that wait fail."""
        self._idle.clear()
        for connection in list(self._open):
            connection.close()

    async def _over(self, connection: "Connection", head: bytes, body: bytes) -> Reply:
        reply = await connection.ask(head, body)
        if connection.is_usable and len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()
        return reply

    def _kept(self) -> "Connection | None":
        """Give the one that was used last; one that was idle for long may be forgotten by what lies between, without a word."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable and connection.idle_s < IDLE_S:
                return connection
            connection.close()
        return None

    async def _connected(self) -> "Connection":
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: Connection(self._open.discard), self._host, self._port)
        except OSError as error:
            raise ServerUnavailable(f"Triton cannot be reached: {error}") from error
        # Here and not when it is made: one that is made and given up at once is closed without a word.
        if not connection.is_closing:
            self._open.add(connection)
        return connection

    def _head(self, method: str, path: str, headers: Mapping[str, str], num_bytes: int) -> bytes:
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        length = f"Content-Length: {num_bytes}\r\n" if num_bytes or method == "POST" else ""
        return f"{method} {quote(self._base + path)} HTTP/1.1\r\nHost: {self._named}\r\n{length}{lines}\r\n".encode("latin-1")


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        lost: told when it is closed.
    """

    def __init__(self, lost: Callable[["Connection"], None]) -> None:
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._writable = asyncio.Event()
        # Done when the request that is asked has its answer, or will have none; None between requests.
        self._ended: asyncio.Future[None] | None = None
        self._reply: Reply | None = None
        self._why = ""
        self._has_heard = self._is_sent = self._keeps = False
        self._used_s = 0.0
        self._chunks: list[bytes] = []
        self._head_length: str | None = None

    @property
    def is_usable(self) -> bool:
        """Tell whether it can be asked: the last answer was whole and did not say that it was the last, and nothing came since."""
        return self._keeps and not self.is_closing

    @property
    def is_closing(self) -> bool:
        """Tell whether it is closed, or soon will be."""
        return self._transport.is_closing()

    @property
    def idle_s(self) -> float:
        """Give the seconds since the last answer."""
        return self._loop.time() - self._used_s

    async def ask(self, head: bytes, body: bytes) -> Reply:
        """Send a request and read its answer; when that is cancelled, or fails with ConnectionEnded, the connection is closed."""
        assert self._ended is None, "one request at a time"
        if self.is_closing:
            raise ConnectionEnded("Triton cannot be reached: the connection was closed at once", had_begun=False)
        ended = self._ended = self._loop.create_future()
        self._reply, self._has_heard, self._keeps = None, False, False
        try:
            if len(body) <= JOINED_BYTES:
                self._transport.write(head + body)
                self._is_sent = True
            else:
                await self._send_in_pieces(head, body, ended)
            await ended
        except asyncio.CancelledError:
            self._transport.abort()
            raise
        finally:
            self._ended = None
        if self._reply is None:
            self._transport.abort()
            raise ConnectionEnded(f"Triton cannot be reached: {self._why}", had_begun=self._has_heard)
        self._used_s = self._loop.time()
        return self._reply

    def close(self) -> None:
        """Close it at once, whatever is not sent yet."""
        self._transport.abort()

    async def _send_in_pieces(self, head: bytes, body: bytes, ended: "asyncio.Future[None]") -> None:
        self._is_sent = False
        view = memoryview(body)
        for start in range(0, len(view), PIECE_BYTES):
            await self._writable.wait()
            if ended.done() or self.is_closing:
                return  # answered before all was read, as a refusal may be, or never to be answered
            piece = view[start : start + PIECE_BYTES]
            self._transport.writelines((piece,) if start else (head, piece))
        self._is_sent = True

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready for the first request."""
        # uvloop's transports can all that asyncio's can, without being of their class.
        self._transport = cast(asyncio.Transport, transport)
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Answer nothing any more."""
        self._lost(self)
        self._end(f"the connection was closed before the answer was whole{f': {error}' if error else ''}")

    def pause_writing(self) -> None:
        """Wait with the rest of a body."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on with a body."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Read a part of the answer; what nobody asked for ends the connection."""
        if self._ended is None or self._ended.done():
            self._transport.abort()
            return
        self._has_heard = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._keeps = False
            self._end(f"its answer is not HTTP/1.1: {error}")

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Forget the message before; one that follows an answer at once was not asked for."""
        self._keeps = False
        self._chunks, self._head_length = [], None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the one header that matters."""
        if name.lower() == _HEAD_LENGTH:
            self._head_length = value.decode("latin-1")

    def on_body(self, chunk: bytes) -> None:
        """Keep a part of the body."""
        self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        """Give the answer to who asked, unless it only says that one will come."""
        status = self._parser.get_status_code()
        if status < FIRST_FINAL_STATUS or self._reply is not None:
            return
        self._reply = Reply(status, b"".join(self._chunks), self._head_length)
        self._chunks = []
        self._keeps = self._is_sent and self._parser.should_keep_alive()
        self._end("")

    def _end(self, why: str) -> None:
        if self._ended is not None and not self._ended.done():
            self._why = why
            self._ended.set_result(None)
            self._writable.set()
