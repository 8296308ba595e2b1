"""h2's client against one connection of the gateway's HTTP/2, in memory."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import h2.config
import h2.connection
import h2.events

from reelspace.gateway.http2.application import Answer
from reelspace.gateway.http2.connection import Connection, Load
from reelspace.gateway.http2.headers import Pairs, encode_headers
from reelspace.gateway.http2.settings import Http2Settings

HEADERS = [(":method", "POST"), (":path", "/echo"), (":scheme", "http"), (":authority", "here"), ("x-long", "v" * 200)]
OK, TAIL = encode_headers([(b":status", b"200")]), encode_headers([(b"status", b"0"), (b"long", b"t" * 300)])
SETTINGS = Http2Settings(max_streams=8, max_body_bytes=1 << 20, max_held_bytes=3 << 20, max_connections=2, max_header_bytes=4096)


class Echo:
    """Answers with the body, after waiting for whatever `gate` gives."""

    def __init__(self, gate: Callable[[str], Awaitable[None]] | None = None) -> None:
        self.gate = gate
        self.begun: list[str] = []
        self.cancelled = 0

    def read_head(self, pairs: Pairs) -> str:
        return dict(pairs).get(":path", "")

    async def answer(self, head: str, body: bytes, came_s: float) -> Answer:
        self.begun.append(head)
        if head == "/broken":
            raise ValueError("a bug")
        try:
            if self.gate is not None:
                await self.gate(head)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Answer(OK, body, TAIL)

    def answer_now(self, head: str, body: bytes, came_s: float) -> Answer | None:
        return None

    def failed(self, head: str, error: BaseException) -> Answer:
        return _status(b"500")

    def too_large(self, head: str) -> Answer:
        return _status(b"413")

    def too_busy(self, head: str) -> Answer:
        return _status(b"429")

    def too_slow(self, head: str) -> Answer:
        return _status(b"504")


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closing = self.aborted = self.paused = False

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Client:
    """h2's client on the other end of a connection."""

    def __init__(self, application: Any, settings: Http2Settings = SETTINGS, load: Load | None = None) -> None:
        self.wire = Wire()
        self.load = load or Load()
        self.server = Connection(application, settings, self.load)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.h2.initiate_connection()
        self.events: list[Any] = []
        self.bodies: dict[int, bytes] = {}
        self.server.connection_made(self.wire)  # type: ignore[arg-type]
        self.exchange()

    def exchange(self, piece: int = 0) -> None:
        """Carry what both sides have to say, in pieces of some bytes if told so, until neither has more."""
        while True:
            data = self.h2.data_to_send()
            for start in range(0, len(data), piece or len(data) or 1):
                self.server.data_received(data[start : start + (piece or len(data))])
            answer = bytes(self.wire.written)
            self.wire.written.clear()
            for event in self.h2.receive_data(answer) if answer else []:
                self._hear(event)
            if not answer and not data:
                return

    async def settle(self) -> None:
        """Carry what is said, let tasks run, and carry what they say."""
        self.exchange()
        for _ in range(4):
            await asyncio.sleep(0)
        self.exchange()

    def request(self, body: bytes = b"", path: str = "/echo", *, end: bool = True) -> int:
        stream: int = self.h2.get_next_available_stream_id()
        headers = [(name, path if name == ":path" else value) for name, value in HEADERS]
        self.h2.send_headers(stream, headers, end_stream=end and not body)
        for start in range(0, len(body), 16_384):
            self.h2.send_data(stream, body[start : start + 16_384], end_stream=end and start + 16_384 >= len(body))
        return stream

    def status(self, stream: int) -> str | None:
        found = [event for event in self.events if isinstance(event, h2.events.ResponseReceived) and event.stream_id == stream]
        return dict(found[0].headers)[b":status"].decode() if found else None

    def ended(self, stream: int) -> bool:
        return any(isinstance(event, h2.events.StreamEnded) and event.stream_id == stream for event in self.events)

    @property
    def goodbye(self) -> Any:
        return next((event for event in self.events if isinstance(event, h2.events.ConnectionTerminated)), None)

    def _hear(self, event: Any) -> None:
        self.events.append(event)
        if isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


async def forever(head: str) -> None:
    await asyncio.Event().wait()


def _status(code: bytes) -> Answer:
    return Answer(encode_headers([(b":status", code)]))
