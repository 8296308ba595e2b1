"""TensorBoard's event files, written without its package.

A file is a row of records: length (uint64), its checksum, an Event message, its checksum; all little-endian.
Source: tensorflow/core/lib/io/record_writer.h (records), tensorflow/core/util/event.proto and summary.proto (field numbers).
"""

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from reelspace.train.sinks import Line

_VERSION = "brain.Event:2"
_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8
# Keys of protobuf fields: number * 8 + wire type.
_WALL_TIME, _STEP, _FILE_VERSION, _SUMMARY = 0x09, 0x10, 0x1A, 0x2A
_VALUE, _TAG, _SIMPLE_VALUE = 0x0A, 0x0A, 0x15


class EventFiles:
    """A target for `Background`: one more file per try of a training, in one directory; a step is told once among all of them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: BinaryIO | None = None
        self._last_step = 0

    def send(self, lines: Sequence[Line]) -> None:
        """Write lines of later steps than any told so far."""
        file = self._file or self._opened(lines[0].at_s)
        for line in lines:
            if line.step > self._last_step:
                values = b"".join(_field(_VALUE, _value(name, number)) for name, number in line.figures.items())
                file.write(_record(_event(line.at_s, line.step, _field(_SUMMARY, values))))
                self._last_step = line.step
        file.flush()

    def finish(self, *, is_done: bool) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _opened(self, at_s: float) -> BinaryIO:
        self._directory.mkdir(parents=True, exist_ok=True)
        earlier = [path for path in self._directory.iterdir() if ".tfevents." in path.name]
        self._last_step = max((step for path in earlier for step in steps_in(path)), default=0)
        # A file of its own: what a killed writer left may end in half a record, which hides all that follows it in that file.
        # TensorBoard reads the files of a directory in order of their names.
        path = self._directory / f"events.out.tfevents.{int(at_s):010d}.{len(earlier):04d}.{os.getpid()}"
        self._file = path.open("xb")
        self._file.write(_record(_event(at_s, 0, _field(_FILE_VERSION, _VERSION.encode()))))
        return self._file


def steps_in(path: Path) -> Iterator[int]:
    """Give the step of every whole record that `EventFiles` wrote to a file."""
    with path.open("rb") as file:
        while len(head := file.read(12)) == 12:
            length = struct.unpack("<Q", head[:8])[0]
            event = file.read(length)
            if len(file.read(4)) < 4:
                return
            # After the key and the 8 bytes of the time, and the step's own key.
            yield _read_number(event[10:])


def crc32c(data: bytes) -> int:
    """Give the checksum CRC-32C (Castagnoli) of bytes. Source: RFC 3720, appendix B.4."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _table() -> tuple[int, ...]:
    entries = []
    for entry in range(256):
        for _ in range(8):
            entry = (entry >> 1) ^ (_POLYNOMIAL if entry & 1 else 0)
        entries.append(entry)
    return tuple(entries)


_TABLE = _table()


def _record(event: bytes) -> bytes:
    length = struct.pack("<Q", len(event))
    return length + _checksum(length) + event + _checksum(event)


def _checksum(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF)


def _event(at_s: float, step: int, content: bytes) -> bytes:
    return struct.pack("<Bd", _WALL_TIME, at_s) + bytes([_STEP]) + _number(step) + content


def _value(name: str, number: float) -> bytes:
    return _field(_TAG, name.encode()) + struct.pack("<Bf", _SIMPLE_VALUE, number)


def _field(key: int, data: bytes) -> bytes:
    return bytes([key]) + _number(len(data)) + data


def _number(value: int) -> bytes:
    """Give a varint: seven bits a byte, the lowest first."""
    rest = []
    while value >= 0x80:
        rest.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*rest, value])


def _read_number(data: bytes) -> int:
    value = 0
    for place, byte in enumerate(data):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            break
    return value
