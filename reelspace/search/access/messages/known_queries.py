"""Queries that came before with another vector: their bytes are looked up, not read.

Services ask the same again and again with another vector. Equal bytes around it mean an equal query but for it, so what lies around
it is read and checked once; reading it as a message each time costs as much as a tenth of the search.

Legend: D dimension.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from reelspace.search.access.messages.alike_message import vector_place
from reelspace.search.access.requests import QueryRequest
from reelspace.search.storage.rows import Fields

MAX_KNOWN: Final = 1024
MAX_AROUND_BYTES: Final = 16_384
FLOAT_BYTES: Final = 4

Around = tuple[int, int, bytes, bytes]
"""Bytes of the whole message and of what lies before its vector, and what lies before and behind it."""


@dataclass(frozen=True, slots=True)
class KnownQuery:
    """A `QueryPoints`, what it asks of a collection with these fields, whatever its vector is."""

    message: Any
    fields: Fields
    request: QueryRequest


@dataclass(frozen=True, slots=True, eq=False)
class FoundQuery:
    """What is known of a query, and the vector that came with it, unchecked."""

    known: KnownQuery
    vector_D: NDArray[np.float32]


class KnownQueries:
    """The queries that came last. Belongs to one event loop."""

    def __init__(self) -> None:
        self._places: dict[int, slice] = {}
        self._known: dict[Around, KnownQuery] = {}

    def find(self, data: bytes) -> FoundQuery | None:
        """Look a `QueryPoints` up; None for one like none before."""
        place = self._places.get(len(data))
        if place is None:
            return None
        known = self._known.get(_around(data, place))
        if known is None:
            return None
        return FoundQuery(known, np.frombuffer(data, "<f4", (place.stop - place.start) // FLOAT_BYTES, place.start))

    def learn(self, data: bytes, known: KnownQuery) -> None:
        """Remember a `QueryPoints` that was read and checked, if its vector can be told from the rest."""
        place = vector_place(data)
        if place is None or len(data) - (place.stop - place.start) > MAX_AROUND_BYTES:
            return
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
            self._places.clear()
        self._places[len(data)] = place
        self._known[_around(data, place)] = known


def _around(data: bytes, place: slice) -> Around:
    return len(data), place.start, data[: place.start], data[place.stop :]
