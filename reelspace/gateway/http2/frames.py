"""Frames of HTTP/2 and how they are written.

Source: RFC 9113, sections 4 to 7.
"""

import struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD: Final = struct.Struct(">IBI")  # size and kind, flags, stream
HEAD_BYTES: Final = 9
MAX_STREAM: Final = 2**31 - 1
MAX_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65_535
DEFAULT_FRAME_BYTES: Final = 16_384
LARGEST_FRAME_BYTES: Final = 2**24 - 1
PRIORITY_BYTES: Final = 5
PING_BYTES: Final = 8
NUMBER_BYTES: Final = 4

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
FLOW_CONTROL_ERROR: Final = 3
STREAM_CLOSED: Final = 5
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
CANCEL: Final = 8
COMPRESSION_ERROR: Final = 9
ENHANCE_YOUR_CALM: Final = 11


class ConnectionBroken(Exception):
    """The other side broke the protocol or its limits; `code` goes into GOAWAY. Never leaves this package."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Write one frame."""
    return HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def number(value: int) -> bytes:
    """Write a number of 4 bytes, as WINDOW_UPDATE and RST_STREAM carry it."""
    return value.to_bytes(4, "big")


def settings(values: dict[int, int]) -> bytes:
    """Write a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in values.items()))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Read the pairs of a SETTINGS frame; ConnectionBroken when its size is none that pairs have."""
    if len(payload) % 6:
        raise ConnectionBroken(FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
    return [struct.unpack_from(">HI", payload, place) for place in range(0, len(payload), 6)]


def without_padding(flags: int, payload: bytes) -> bytes:
    """Give what a DATA or HEADERS frame carries; ConnectionBroken when it is shorter than its padding."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionBroken(PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]
