"""One connection of HTTP/2: frames come in, requests go to the application, its answers into the outbox.

Written for many small requests: one task, one write and a few look-ups each. What a client may make us hold or do is bounded: bodies,
header blocks, streams, resets, and frames that ask for nothing.
Source: RFC 9113; bounds against CVE-2019-9511 to 9518 (floods), CVE-2023-44487 (rapid reset), CVE-2024-27316 (CONTINUATION).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

from reelspace.gateway.http2 import frames
from reelspace.gateway.http2.application import Answer, Application
from reelspace.gateway.http2.frames import ConnectionBroken, frame, number
from reelspace.gateway.http2.headers import HeaderReader
from reelspace.gateway.http2.outbox import Outbox
from reelspace.gateway.http2.settings import Http2Settings
from reelspace.gateway.http2.stream import Stream

RECEIVE_WINDOW: Final = 16 << 20
RECEIVED_BEFORE_UPDATE: Final = 1 << 20
# A stream's window is not opened again: it takes the largest body, and enough more to notice one that is larger.
WINDOW_SLACK: Final = 65_536
MAX_GREETING_S: Final = 10.0
MAX_CLOSING_S: Final = 5.0
MAX_BLOCK_FRAMES: Final = 16
# Frames that ask for nothing, between two requests; requests given up by the client, less those answered.
MAX_IDLE_FRAMES: Final = 10_000
MAX_RESETS: Final = 1_000


@dataclass(eq=False)
class Load:
    """What all connections of a server hold; `answered_now` says that one was answered on the spot in this turn of the event loop."""

    connections: "set[Connection]" = field(default_factory=set)
    held_bytes: int = 0
    num_streams: int = 0
    answered_now: bool = False

    def begin_turn(self) -> None:
        """Let one more be answered on the spot."""
        self.answered_now = False


class Connection(asyncio.Protocol):
    """The server's side of one connection. Belongs to one event loop."""

    def __init__(self, application: Application[Any], settings: Http2Settings, load: Load) -> None:
        self._application = application
        self._settings = settings
        self._load = load
        self._loop = asyncio.get_running_loop()
        self._headers = HeaderReader(application.read_head, settings.max_header_bytes)
        self._rest = b""
        self._greeted = False
        self._settled = False
        self._block: tuple[int, int, list[bytes]] | None = None
        self._streams: dict[int, Stream] = {}
        self._ready: list[tuple[Stream, bytes]] = []
        self._last = 0
        self._receive_window = RECEIVE_WINDOW
        self._received = 0
        self._num_idle_frames = 0
        self._num_resets = 0
        self._used_s = self._loop.time()
        self._leaving = False
        self._transport: asyncio.Transport
        self._outbox: Outbox

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client, unless there are too many already."""
        # uvloop's transports can all that asyncio's can, without being of their class.
        self._transport = cast(asyncio.Transport, transport)
        self._outbox = Outbox(self._transport, self._finished)
        self._load.connections.add(self)
        if len(self._load.connections) > self._settings.max_connections:
            self._transport.abort()
            return
        ours = {
            frames.MAX_CONCURRENT_STREAMS: self._settings.max_streams,
            frames.INITIAL_WINDOW_SIZE: self._settings.max_body_bytes + WINDOW_SLACK,
            frames.MAX_HEADER_LIST_SIZE: self._settings.max_header_bytes,
        }
        self._transport.write(frames.settings(ours) + frame(frames.WINDOW_UPDATE, 0, 0, number(RECEIVE_WINDOW - frames.DEFAULT_WINDOW)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what was asked for over this connection."""
        self._load.connections.discard(self)
        for stream in list(self._streams.values()):
            self._forget(stream)

    def pause_writing(self) -> None:
        """Take nothing more from a client that does not read."""
        self._outbox.set_writable(False)
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        if not self._transport.is_closing():
            self._transport.resume_reading()
        self._outbox.set_writable(True)

    def data_received(self, data: bytes) -> None:
        """Read the frames that are whole."""
        if self._rest:
            data = self._rest + data
        try:
            self._rest = data[self._read_frames(data) :]
        except ConnectionBroken as error:
            self._end(error.code, str(error))
        if self._ready:
            self._start_ready()

    # What the server calls.

    def leave(self) -> None:
        """Take no more requests, and close once all are answered."""
        self._leaving = True
        if not self._streams:
            self._end(frames.NO_ERROR, "")
        elif not self._transport.is_closing():
            self._transport.write(_goaway(self._last, frames.NO_ERROR, ""))

    def abort(self) -> None:
        """Close without waiting for anything."""
        self._transport.abort()

    def sweep(self, now_s: float) -> None:
        """Give up what takes too long."""
        limits, unused_s = self._settings, now_s - self._used_s
        if self._transport.is_closing():
            if unused_s > MAX_CLOSING_S:
                self._transport.abort()
            return
        if (not self._settled or self._block) and unused_s > MAX_GREETING_S:
            self._end(frames.ENHANCE_YOUR_CALM, "too slow")
        elif not self._streams and unused_s > limits.idle_s:
            self._end(frames.NO_ERROR, "idle")
        for stream in list(self._streams.values()):
            age_s = now_s - stream.since_s
            if stream in self._outbox:
                if age_s > limits.answer_s:
                    self._outbox.reset(stream.id, frames.CANCEL)
                    self._forget(stream)
            elif age_s > (limits.answer_s if stream.complete else limits.arrival_s):
                self._refuse(stream, self._application.too_slow(stream.head))

    # Frames.

    def _read_frames(self, data: bytes) -> int:
        start, end = 0 if self._greeted else self._read_preface(data), len(data)
        while self._greeted and end - start >= frames.HEAD_BYTES and not self._transport.is_closing():
            word, flags, stream_id = frames.HEAD.unpack_from(data, start)
            size = word >> 8
            if size > frames.DEFAULT_FRAME_BYTES:
                raise ConnectionBroken(frames.FRAME_SIZE_ERROR, f"frame of {size} bytes")
            stop = start + frames.HEAD_BYTES + size
            if stop > end:
                break
            self._read_frame(word & 0xFF, flags, stream_id & frames.MAX_STREAM, data[start + frames.HEAD_BYTES : stop])
            start = stop
        return start

    def _read_preface(self, data: bytes) -> int:
        size = len(frames.PREFACE)
        if data[:size] != frames.PREFACE[: len(data)]:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "expected HTTP/2")
        self._greeted = len(data) >= size
        return size if self._greeted else 0

    def _read_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if not self._settled:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise ConnectionBroken(frames.PROTOCOL_ERROR, "expected SETTINGS first")
            self._settled = True
        if self._block and kind != frames.CONTINUATION:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "expected CONTINUATION")
        read = _READERS.get(kind)
        if read is None:
            self._count_idle_frame()
        else:
            read(self, flags, stream_id, payload)

    def _read_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._receive(len(payload))
        ends = bool(flags & frames.END_STREAM)
        payload = frames.without_padding(flags, payload)
        if not payload and not ends:
            self._count_idle_frame()
        stream = self._streams.get(stream_id)
        if stream is None or stream.complete:
            self._pass_over(stream_id)
            return
        stream.size_bytes += len(payload)
        self._load.held_bytes += len(payload)
        if stream.size_bytes > self._settings.max_body_bytes:
            self._refuse(stream, self._application.too_large(stream.head))
        elif self._load.held_bytes > self._settings.max_held_bytes:
            self._refuse(stream, self._application.too_busy(stream.head))
        else:
            stream.chunks.append(payload)
            if ends:
                self._start(stream)

    def _receive(self, size: int) -> None:
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionBroken(frames.FLOW_CONTROL_ERROR, "more bytes than the window holds")
        self._received += size
        if self._received >= RECEIVED_BEFORE_UPDATE:
            self._transport.write(frame(frames.WINDOW_UPDATE, 0, 0, number(self._received)))
            self._receive_window += self._received
            self._received = 0

    def _read_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        payload = frames.without_padding(flags, payload)
        if flags & frames.WITH_PRIORITY:
            if len(payload) < frames.PRIORITY_BYTES:
                raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "HEADERS too short for their priority")
            payload = payload[frames.PRIORITY_BYTES :]
        if not stream_id % 2:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, f"HEADERS on stream {stream_id}")
        if flags & frames.END_HEADERS:
            self._read_block(flags, stream_id, payload)
        else:
            self._block = (flags, stream_id, [payload])
            self._used_s = self._loop.time()

    def _read_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None or self._block[1] != stream_id:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "CONTINUATION of nothing")
        first_flags, _, parts = self._block
        parts.append(payload)
        if len(parts) > MAX_BLOCK_FRAMES or sum(map(len, parts)) > self._settings.max_header_bytes:
            raise ConnectionBroken(frames.ENHANCE_YOUR_CALM, f"header block of more than {self._settings.max_header_bytes} bytes")
        if flags & frames.END_HEADERS:
            self._block = None
            self._read_block(first_flags, stream_id, b"".join(parts))

    def _read_block(self, flags: int, stream_id: int, block: bytes) -> None:
        # Every block must be decoded, wanted or not: the table is made of all of them.
        head = self._headers.decode(block)
        ends = bool(flags & frames.END_STREAM)
        stream = self._streams.get(stream_id)
        if stream is not None:
            if stream.complete or not ends:
                raise ConnectionBroken(frames.PROTOCOL_ERROR, f"unexpected HEADERS on stream {stream_id}")
            self._start(stream)
        elif stream_id <= self._last or self._leaving:
            self._pass_over(stream_id)
        else:
            self._open(Stream(stream_id, head, self._loop.time(), self._outbox.stream_window), ends)

    def _read_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._count_idle_frame()
        if stream_id or (flags & frames.ACK and payload):
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "SETTINGS of a stream, or with an acknowledgement")
        if flags & frames.ACK:
            return
        for key, value in frames.read_settings(payload):
            if key == frames.INITIAL_WINDOW_SIZE:
                self._resize_windows(value)
            elif key == frames.MAX_FRAME_SIZE:
                self._outbox.set_max_frame(value)
            elif key == frames.ENABLE_PUSH and value > 1:
                raise ConnectionBroken(frames.PROTOCOL_ERROR, f"ENABLE_PUSH {value}")
        self._transport.write(frame(frames.SETTINGS, frames.ACK, 0))

    def _resize_windows(self, size: int) -> None:
        if size > frames.MAX_WINDOW:
            raise ConnectionBroken(frames.FLOW_CONTROL_ERROR, f"window of {size} bytes")
        change, self._outbox.stream_window = size - self._outbox.stream_window, size
        for stream in list(self._streams.values()):
            self._outbox.open_window(change, stream)

    def _read_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._count_idle_frame()
        more = _number_of(payload, "WINDOW_UPDATE") & frames.MAX_WINDOW
        if not more:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "window that grows by nothing")
        stream = self._streams.get(stream_id)
        if stream is not None or not stream_id:
            self._outbox.open_window(more, stream)
        else:
            self._pass_over(stream_id)

    def _read_reset(self, flags: int, stream_id: int, payload: bytes) -> None:
        _number_of(payload, "RST_STREAM")
        stream = self._streams.get(stream_id)
        if stream is None:
            self._pass_over(stream_id)
            return
        self._forget(stream)
        self._num_resets += 1
        if self._num_resets > MAX_RESETS:
            raise ConnectionBroken(frames.ENHANCE_YOUR_CALM, "too many requests are given up")

    def _read_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._count_idle_frame()
        if stream_id or len(payload) != frames.PING_BYTES:
            raise ConnectionBroken(frames.PROTOCOL_ERROR if stream_id else frames.FRAME_SIZE_ERROR, "PING of a stream, or of another size")
        if not flags & frames.ACK:
            self._transport.write(frame(frames.PING, frames.ACK, 0, payload))

    def _read_push(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ConnectionBroken(frames.PROTOCOL_ERROR, "clients do not push")

    def _pass_over(self, stream_id: int) -> None:
        """Let pass what was on its way when its stream was closed."""
        if not stream_id or (stream_id > self._last and not self._leaving):
            raise ConnectionBroken(frames.PROTOCOL_ERROR, f"stream {stream_id} is not open")

    def _count_idle_frame(self) -> None:
        self._num_idle_frames += 1
        if self._num_idle_frames > MAX_IDLE_FRAMES:
            raise ConnectionBroken(frames.ENHANCE_YOUR_CALM, "too many frames that ask for nothing")

    # Requests.

    def _open(self, stream: Stream, ends: bool) -> None:
        self._last = stream.id
        self._used_s = stream.since_s
        if len(self._streams) >= self._settings.max_streams:
            self._outbox.reset(stream.id, frames.REFUSED_STREAM)
            self._count_idle_frame()
            return
        self._num_idle_frames = 0
        self._streams[stream.id] = stream
        self._load.num_streams += 1
        if ends:
            self._start(stream)

    def _start(self, stream: Stream) -> None:
        body = stream.chunks[0] if len(stream.chunks) == 1 else b"".join(stream.chunks)
        stream.chunks = []
        stream.complete = True
        self._ready.append((stream, body))

    def _start_ready(self) -> None:
        """Begin with the requests that came whole in what was read: with one that no other is beside, on the spot.

        A task and its turns of the loop would only keep it waiting; several are better answered together, also those that came over
        connections of their own in one turn of the loop.
        """
        ready, self._ready = self._ready, []
        for stream, body in ready:
            if self._streams.get(stream.id) is not stream:
                continue  # given up in the same breath
            is_alone = self._load.num_streams == 1 and len(ready) == 1 and not self._load.answered_now
            if is_alone and (answer := self._answer_now(stream, body)) is not None:
                self._load.answered_now = True
                self._loop.call_soon(self._load.begin_turn)
                self._reply(stream, answer)
                return
            stream.task = self._loop.create_task(self._application.answer(stream.head, body, stream.since_s))
            stream.task.add_done_callback(partial(self._answered, stream))

    def _answer_now(self, stream: Stream, body: bytes) -> Answer | None:
        try:
            return self._application.answer_now(stream.head, body, stream.since_s)
        except Exception as error:  # noqa: BLE001 - as a task would have kept it: the connection goes on
            return self._application.failed(stream.head, error)

    def _answered(self, stream: Stream, task: "asyncio.Task[Answer]") -> None:
        if task.cancelled():
            return
        error = task.exception()
        stream.task = None
        if self._streams.get(stream.id) is stream:
            self._num_resets = max(0, self._num_resets - 1)
            self._reply(stream, task.result() if error is None else self._application.failed(stream.head, error))

    def _refuse(self, stream: Stream, answer: Answer) -> None:
        if stream.task is not None:
            stream.task.cancel()
            stream.task = None
        self._reply(stream, answer)

    def _reply(self, stream: Stream, answer: Answer) -> None:
        stream.since_s = self._loop.time()
        self._outbox.send(stream, answer)

    def _finished(self, stream: Stream) -> None:
        if not stream.complete:
            # The rest of the request is not wanted.
            self._outbox.reset(stream.id, frames.NO_ERROR)
        self._forget(stream)
        if self._leaving and not self._streams:
            self._transport.close()

    def _forget(self, stream: Stream) -> None:
        if stream.task is not None:
            stream.task.cancel()
        self._load.held_bytes -= stream.size_bytes
        self._load.num_streams -= 1
        del self._streams[stream.id]
        self._outbox.drop(stream)

    def _end(self, code: int, message: str) -> None:
        self._used_s = self._loop.time()
        if not self._transport.is_closing():
            self._transport.write(_goaway(self._last, code, message))
            self._transport.close()


def _number_of(payload: bytes, kind: str) -> int:
    if len(payload) != frames.NUMBER_BYTES:
        raise ConnectionBroken(frames.FRAME_SIZE_ERROR, f"{kind} of {len(payload)} bytes")
    return int.from_bytes(payload, "big")


def _goaway(last: int, code: int, message: str) -> bytes:
    return frame(frames.GOAWAY, 0, 0, number(last) + number(code) + message.encode()[:200])


def _read_nothing(connection: Connection, flags: int, stream_id: int, payload: bytes) -> None:
    """Pass over PRIORITY, and a client's GOAWAY: it closes the connection itself."""
    connection._count_idle_frame()


_READERS: Final[dict[int, Callable[[Connection, int, int, bytes], None]]] = {
    frames.DATA: Connection._read_data,
    frames.HEADERS: Connection._read_headers,
    frames.PRIORITY: _read_nothing,
    frames.RST_STREAM: Connection._read_reset,
    frames.SETTINGS: Connection._read_settings,
    frames.PUSH_PROMISE: Connection._read_push,
    frames.PING: Connection._read_ping,
    frames.GOAWAY: _read_nothing,
    frames.WINDOW_UPDATE: Connection._read_window_update,
    frames.CONTINUATION: Connection._read_continuation,
}
