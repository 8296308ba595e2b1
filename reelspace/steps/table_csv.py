"""Records of CSV as RFC 4180 writes them; what breaks its rule of quotes costs one line, not the rest of the file."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reelspace.steps.table_lines import Line

_QUOTE = b'"'


@dataclass(frozen=True, slots=True)
class Record:
    """One record and where it lies; `fields` is None when its quotes are wrong or its line is too long."""

    line: Line
    fields: Sequence[bytes] | None


def read_records(lines: Iterator[Line], max_record_bytes: int) -> Iterator[Record]:
    """Give the records of a file, the header among them.

    A record goes on over lines while a quote is open. When its quotes turn out wrong, only its first line is given up and
    reading goes on with the second: one stray quote must not swallow the good rows behind it.
    """
    source = _Source(lines)
    while (first := source.next()) is not None:
        group = _group(first, source, max_record_bytes)
        record = _joined(group)
        fields = None if record.data is None else split_record(record.data.removesuffix(b"\r"))
        if fields is None:
            source.put_back(group[1:])
            record = first
        yield Record(record, fields)


def split_record(data: bytes) -> list[bytes] | None:
    """Split one record into its fields, None if a quote stands where none may."""
    if _QUOTE not in data:
        return data.split(b",")
    fields: list[bytes] = []
    at = 0
    while True:
        end = _end_of_quoted(data, at) if data[at : at + 1] == _QUOTE else _end_of_plain(data, at)
        if end is None or data[end : end + 1] not in (b"", b","):
            return None
        field = data[at:end]
        fields.append(field[1:-1].replace(b'""', _QUOTE) if field[:1] == _QUOTE else field)
        if end == len(data):
            return fields
        at = end + 1


class _Source:
    """Lines that can be put back."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._waiting: deque[Line] = deque()

    def next(self) -> Line | None:
        return self._waiting.popleft() if self._waiting else next(self._lines, None)

    def put_back(self, lines: Sequence[Line]) -> None:
        self._waiting.extendleft(reversed(lines))


def _group(first: Line, source: _Source, max_record_bytes: int) -> list[Line]:
    """Take the lines up to the one that closes the last quote, or as far as a record may go."""
    group = [first]
    is_open = _has_odd_quotes(first)
    while is_open and (line := source.next()) is not None:
        if line.data is None or line.end - first.start > max_record_bytes:
            source.put_back([line])
            break
        group.append(line)
        is_open ^= _has_odd_quotes(line)
    return group


def _has_odd_quotes(line: Line) -> bool:
    return line.data is not None and line.data.count(_QUOTE) % 2 == 1


def _joined(group: Sequence[Line]) -> Line:
    if len(group) == 1:
        return group[0]
    return Line(group[0].start, group[-1].end, b"\n".join(line.data for line in group if line.data is not None))


def _end_of_quoted(data: bytes, at: int) -> int | None:
    """Give the place behind the closing quote of the field that begins at `at`; a doubled quote closes nothing."""
    place = data.find(_QUOTE, at + 1)
    while place >= 0 and data[place + 1 : place + 2] == _QUOTE:
        place = data.find(_QUOTE, place + 2)
    return None if place < 0 else place + 1


def _end_of_plain(data: bytes, at: int) -> int | None:
    end = data.find(b",", at)
    end = len(data) if end < 0 else end
    return None if data.find(_QUOTE, at, end) >= 0 else end
