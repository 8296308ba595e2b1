"""The small surface that every system under benchmarks/search.py has, ours and the peers', and the rows and conditions they are asked.

Legend: N rows, D dimension, K hits.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

K: Final = 10
FILTERS: Final = {"category": 20, "flag": 100}
"""Payload keys with the number of their values, all equally frequent: a condition lets 5 % and 1 % of the rows through."""
UNFILTERED: Final = ""
LADDER: Final = (10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512)
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Knob = Mapping[str, int | str]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to store: ids, unit vectors, and one whole number per row under each payload key."""

    ids_N: Ints
    vectors_ND: Floats
    payload: Mapping[str, Ints]

    def __getitem__(self, part: slice) -> "Rows":
        return Rows(self.ids_N[part], self.vectors_ND[part], {key: values_N[part] for key, values_N in self.payload.items()})

    def batches(self, num: int) -> Iterator["Rows"]:
        """Give the rows in order, `num` at a time."""
        return (self[start : start + num] for start in range(0, len(self.ids_N), num))


@dataclass(frozen=True, slots=True)
class Where:
    """The condition `key == value` on the payload."""

    key: str
    value: int


def where_of(key: str, number: int) -> Where | None:
    """Give the condition of a query by its number: values take turns, so that every filter is asked equally often."""
    return Where(key, number % FILTERS[key]) if key else None


class Searcher(Protocol):
    """What one client thread asks with: a connection, or the library itself."""

    def prepare(self, query_D: Floats, k: int, where: Where | None) -> Any:
        """Make a request before the clock starts, as far as this client allows."""

    def search(self, request: Any) -> Sequence[int]:
        """Give the ids of the nearest rows, best first."""

    def close(self) -> None:
        """Hang up."""


class SharedSearcher(Protocol):
    """One connection over which many tasks of an event loop ask at the same time."""

    async def search(self, request: Any) -> Sequence[int]:
        """Give the ids of the nearest rows, best first; requests are those of `Searcher.prepare`."""

    async def close(self) -> None:
        """Hang up."""


class BatchSearcher(Protocol):
    """What one client thread asks several queries at a time with."""

    def prepare(self, queries_QD: Floats, k: int) -> Any:
        """Make a request before the clock starts."""

    def search(self, request: Any) -> Sequence[int]:
        """Answer all queries of a request; gives the ids of the shortest answer."""

    def close(self) -> None:
        """Hang up."""


class System(Protocol):
    """A library with its directory, or a client with its server."""

    def ladders(self, key: str) -> Sequence[Sequence[Knob]]:
        """Give ways to search under a condition on this payload key or without one, and for each the settings in rising effort."""

    def build(self, rows: Rows) -> None:
        """Store the rows, and return when they are durable (where the system can) and searched through its index."""

    def set_knob(self, knob: Knob) -> None:
        """Search from now on with this setting."""

    def searcher(self) -> Searcher:
        """Connect one more client."""

    def shared(self) -> SharedSearcher | None:
        """Open one more connection for many tasks, inside an event loop; None where threads with one each are the cheaper client."""

    def insert(self, rows: Rows, *, wait: bool) -> None:
        """Store more rows while others search; with `wait`, return when searches see them."""

    def reopen(self) -> None:
        """Close and open, so that nothing of earlier conditions is remembered."""

    def close(self) -> None:
        """Let go of directory and connections."""


@runtime_checkable
class BatchedSystem(System, Protocol):
    """A system that is asked for batches too, and for the scores of its answers."""

    def batches(self) -> BatchSearcher:
        """Connect one more client."""

    def scored(self, query_D: Floats, k: int) -> tuple[list[int], list[float]]:
        """Give ids and scores of the nearest rows."""


@dataclass(frozen=True, slots=True)
class Direct:
    """The searcher of a library: the call itself, from vector to ids."""

    call: Callable[[Floats, int, Where | None], Sequence[int]]

    def prepare(self, query_D: Floats, k: int, where: Where | None) -> tuple[Floats, int, Where | None]:
        """Give the arguments: all that a library does with them is timed."""
        return query_D, k, where

    def search(self, request: tuple[Floats, int, Where | None]) -> Sequence[int]:
        """Call."""
        return self.call(*request)

    def close(self) -> None:
        """Do nothing: the library outlives its searchers."""
