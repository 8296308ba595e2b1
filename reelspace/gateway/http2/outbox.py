"""What one HTTP/2 connection sends: answers, as far as the other side's windows and the socket take them.

Source: RFC 9113, sections 5.2 and 6.9.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from reelspace.gateway.http2 import frames
from reelspace.gateway.http2.application import Answer
from reelspace.gateway.http2.frames import ConnectionBroken, frame, number
from reelspace.gateway.http2.headers import NO_TABLE
from reelspace.gateway.http2.stream import Stream

_LAST_HEADERS: Final = frames.END_HEADERS | frames.END_STREAM


class Outbox:
    """Sends answers; `finished` is called with every stream whose answer is out.

    An answer is written at once, in one piece, where the windows and one frame hold it; else it waits here.
    """

    def __init__(self, transport: asyncio.Transport, finished: Callable[[Stream], None]) -> None:
        self._transport = transport
        self._finished = finished
        self._waiting: dict[int, Stream] = {}
        self._writable = True
        self._window = frames.DEFAULT_WINDOW
        self._max_frame = frames.DEFAULT_FRAME_BYTES
        self._before_head = NO_TABLE
        self.stream_window = frames.DEFAULT_WINDOW
        """What a new stream may send."""

    def __contains__(self, stream: Stream) -> bool:
        return stream.id in self._waiting

    def send(self, stream: Stream, answer: Answer) -> None:
        """Send an answer, or begin to."""
        body, tail = answer.body, answer.tail
        head = frame(frames.HEADERS, _LAST_HEADERS if tail is None else frames.END_HEADERS, stream.id, self._before_head + answer.head)
        self._before_head = b""
        if tail is None:
            self._transport.write(head)
            self._finished(stream)
            return
        end = frame(frames.HEADERS, _LAST_HEADERS, stream.id, tail)
        if self._writable and len(body) <= min(self._window, stream.window, self._max_frame):
            self._window -= len(body)
            self._transport.write(b"".join((head, frame(frames.DATA, 0, stream.id, body), end)))
            self._finished(stream)
        else:
            self._transport.write(head)
            stream.unsent, stream.end = memoryview(body), end
            self._waiting[stream.id] = stream
            self.flush()

    def drop(self, stream: Stream) -> None:
        """Send no more of an answer."""
        self._waiting.pop(stream.id, None)

    def set_writable(self, writable: bool) -> None:
        """Hear whether the socket takes more."""
        self._writable = writable
        self.flush()

    def set_max_frame(self, size_bytes: int) -> None:
        """Hear how large frames may be."""
        if not frames.DEFAULT_FRAME_BYTES <= size_bytes <= frames.LARGEST_FRAME_BYTES:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, f"frames of {size_bytes} bytes")
        self._max_frame = size_bytes

    def open_window(self, more: int, stream: Stream | None = None) -> None:
        """Hear that the connection, or one stream, may send so many bytes more."""
        if stream is None:
            self._window = _checked(self._window + more)
        else:
            stream.window = _checked(stream.window + more)
        self.flush()

    def flush(self) -> None:
        """Send of the waiting answers what may be sent."""
        for stream in list(self._waiting.values()):
            while self._writable and stream.unsent:
                size = min(len(stream.unsent), self._window, stream.window, self._max_frame)
                if size <= 0:
                    break
                head = frames.HEAD.pack(size << 8 | frames.DATA, 0, stream.id)
                self._transport.write(b"".join((head, stream.unsent[:size])))
                stream.unsent = stream.unsent[size:]
                self._window -= size
                stream.window -= size
            if not stream.unsent:
                del self._waiting[stream.id]
                self._transport.write(stream.end)
                self._finished(stream)

    def reset(self, stream_id: int, code: int) -> None:
        """Tell that a stream is over."""
        self._transport.write(frame(frames.RST_STREAM, 0, stream_id, number(code)))


def _checked(window: int) -> int:
    if window > frames.MAX_WINDOW:
        raise ConnectionBroken(frames.FLOW_CONTROL_ERROR, f"window of {window} bytes")
    return window
