"""Lines of a file in bounded memory: a line longer than allowed is passed over, with its place and hash."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Line:
    """The bytes `start` to `end` of a file, without the newline; `data` is None, and `digest` known, when they are too many."""

    start: int
    end: int
    data: bytes | None
    digest: str = ""

    @property
    def sha256(self) -> str:
        """Hash of the bytes."""
        return self.digest if self.data is None else hashlib.sha256(self.data).hexdigest()


def read_lines(stream: BinaryIO, max_line_bytes: int) -> Iterator[Line]:
    """Give the lines of a stream; what follows the last newline is a line unless it is empty.

    Memory: max_line_bytes and one chunk, however long a line is.
    """
    line = _OpenLine(0, max_line_bytes)
    while chunk := stream.read(_CHUNK_BYTES):
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            line.add(piece)
            yield line.closed()
            line = _OpenLine(line.end + 1, max_line_bytes)
        line.add(rest)
    if line.end > line.start:
        yield line.closed()


class _OpenLine:
    """A line that is still being read: its pieces, or only their hash once they are too many."""

    def __init__(self, start: int, max_line_bytes: int) -> None:
        self.start = start
        self.end = start
        self._max_bytes = max_line_bytes
        self._pieces: list[bytes] = []
        self._digest: hashlib._Hash | None = None

    def add(self, piece: bytes) -> None:
        self.end += len(piece)
        self._pieces.append(piece)
        if self.end - self.start > self._max_bytes:
            self._digest = self._digest or hashlib.sha256()
            for held in self._pieces:
                self._digest.update(held)
            self._pieces.clear()

    def closed(self) -> Line:
        if self._digest is not None:
            return Line(self.start, self.end, None, self._digest.hexdigest())
        return Line(self.start, self.end, b"".join(self._pieces))
