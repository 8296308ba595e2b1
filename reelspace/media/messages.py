"""Messages between the pool and its workers: one byte that says what it is, eight of length, then the bytes."""

import socket
import struct
from enum import Enum
from typing import Final

_HEADER: Final = struct.Struct(">cQ")
_CHUNK_BYTES: Final = 1 << 18


class Tag(Enum):
    """What a message is."""

    JOB = b"J"
    """To the worker: one payload."""
    READY = b"R"
    """From the worker: started, give me work."""
    BEGUN = b"B"
    """From the worker: the item has arrived, its time counts from now."""
    DONE = b"D"
    """From the worker: the task's answer."""
    FAILED = b"F"
    """From the worker: the task raised; the words of its error."""
    NO_MEMORY = b"M"
    """From the worker: the task hit the memory limit; the worker ends."""


def send(connection: socket.socket, tag: Tag, data: bytes = b"") -> None:
    """Send one message; blocks until the other side has taken it."""
    connection.sendall(_HEADER.pack(tag.value, len(data)))
    connection.sendall(data)


class Inbox:
    """Puts messages together from what arrives."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, connection: socket.socket) -> bool:
        """Take what has arrived, or wait for some; False once the other side is gone."""
        try:
            chunk = connection.recv(_CHUNK_BYTES)
        except ConnectionResetError:
            return False
        self._buffer += chunk
        return bool(chunk)

    def next(self) -> tuple[Tag, bytes] | None:
        """Give the next whole message, None if it has not arrived yet."""
        if len(self._buffer) < _HEADER.size:
            return None
        tag, length = _HEADER.unpack_from(self._buffer)
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return None
        data = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        return Tag(tag), data
