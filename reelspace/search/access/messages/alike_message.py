"""Batches of queries that differ only in their vectors, as they come over gRPC: read once, and the vectors as one array.

A batch of 64 read query by query costs as much as the search. Equal bytes around the vectors mean equal queries but for these, so the
first one is read for all of them. What is not so regular is left to `query_message`.

Legend: Q queries, D dimension, B bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from qdrant_client.grpc import points_pb2

from reelspace.search.access.messages.query_message import queries_of
from reelspace.search.access.messages.set_fields import parse_message
from reelspace.search.access.query_request import MAX_SEARCHES
from reelspace.search.access.requests import AlikeRequests
from reelspace.search.access.vector_request import are_surely_good
from reelspace.search.storage.rows import Fields

# Tags: the number of a field and how it is written; see https://protobuf.dev/programming-guides/encoding.
_QUERY_POINTS: Final = 2 << 3 | 2
_QUERY: Final = 3 << 3 | 2
_INSIDE_QUERY: Final = (1 << 3 | 2, 2 << 3 | 2, 1 << 3 | 2)
"""nearest, dense and data, one inside the other."""
_FIXED_BYTES: Final = {1: 8, 5: 4}
_MAX_VARINT_BYTES: Final = 10
_LENGTH: Final = 2
_VARINT: Final = 0

Field = tuple[int, int, int]
"""Tag, and where the value begins and ends."""


@dataclass(frozen=True, slots=True)
class AlikeMessage:
    """A `QueryBatchPoints` with only the first of its queries, and the vectors of all."""

    message: Any
    vectors_QD: NDArray[np.float32]


def read_alike(data: bytes) -> AlikeMessage | None:
    """Read a `QueryBatchPoints` whose queries are equal but for their vectors; None for any other bytes.

    Raises:
        RequestRefused: see `parse_message`.
    """
    try:
        rows, vector = _rows(data)
    except _Irregular:
        return None
    rows_QB = np.frombuffer(data, np.uint8, rows.num * rows.size, rows.start).reshape(rows.num, rows.size)
    for part in (slice(0, vector.start), slice(vector.stop, rows.size)):
        if not (rows_QB[:, part] == rows_QB[0, part]).all():
            return None
    message = parse_message(points_pb2.QueryBatchPoints, data[: rows.start + rows.size] + data[rows.start + rows.num * rows.size :])
    vectors_QD = np.ascontiguousarray(rows_QB[:, vector]).view("<f4")
    return AlikeMessage(message, vectors_QD) if len(message.query_points) == 1 else None


def alike_requests_of(alike: AlikeMessage, fields: Fields) -> AlikeRequests | None:
    """Check what was read; None where each query must be checked, or answered with more than ids and scores.

    Raises:
        RequestRefused: see `queries_of`: what is wrong with all of them is told of the first.
    """
    (request,) = queries_of(alike.message, fields)
    selection = request.selection
    if selection.with_payload or selection.with_vectors or not are_surely_good(alike.vectors_QD):
        return None
    return AlikeRequests(request, alike.vectors_QD)


def vector_place(data: bytes) -> slice | None:
    """Tell where in a `QueryPoints` its vector lies, as one piece and the only target; None where it does not."""
    try:
        return _vector(data, 0, len(data))
    except _Irregular:
        return None


class _Irregular(Exception):
    """The bytes are not as regular as they would have to be. Never leaves this module."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Where `num` queries of `size` bytes each begin, with their tags and lengths."""

    start: int
    size: int
    num: int


def _rows(data: bytes) -> tuple[_Rows, slice]:
    """Find the queries, and where in each of them the vector lies."""
    place = 0
    for tag, begin, end in _fields(data, 0, len(data)):
        if tag == _QUERY_POINTS:
            size = end - place
            num = (len(data) - place) // size
            if not 2 <= num <= MAX_SEARCHES:
                raise _Irregular
            vector = _vector(data, begin, end)
            return _Rows(place, size, num), slice(vector.start - place, vector.stop - place)
        place = end
    raise _Irregular


def _vector(data: bytes, start: int, stop: int) -> slice:
    queries = [(begin, end) for tag, begin, end in _fields(data, start, stop) if tag == _QUERY]
    if len(queries) != 1:
        raise _Irregular
    start, stop = queries[0]
    for wanted in _INSIDE_QUERY:
        tag, start, end = next(_fields(data, start, stop), (0, 0, 0))
        if tag != wanted or end != stop:
            raise _Irregular
    if start == stop or (stop - start) % 4:
        raise _Irregular
    return slice(start, stop)


def _fields(data: bytes, start: int, stop: int) -> Iterator[Field]:
    while start < stop:
        tag, start = _varint(data, start, stop)
        kind = tag & 7
        if kind == _LENGTH:
            size, start = _varint(data, start, stop)
        elif kind == _VARINT:
            size = _varint(data, start, stop)[1] - start
        elif kind in _FIXED_BYTES:
            size = _FIXED_BYTES[kind]
        else:
            raise _Irregular
        if start + size > stop:
            raise _Irregular
        yield tag, start, start + size
        start += size


def _varint(data: bytes, start: int, stop: int) -> tuple[int, int]:
    value = 0
    for place in range(start, min(stop, start + _MAX_VARINT_BYTES)):
        byte = data[place]
        value |= (byte & 127) << 7 * (place - start)
        if byte < 128:
            return value, place + 1
    raise _Irregular
