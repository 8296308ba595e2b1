"""Answers of the services, before they become JSON or protobuf messages.

Legend: D dimension, Q queries, K hits.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reelspace.search.compute.queries import Record
from reelspace.search.storage.ids import Id
from reelspace.search.storage.layout import Collection

NamedVectors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the collection an answer covers.

    Attributes:
        rows: rows of the shards that answered.
        of: rows of all shards, as each last told; new rows are counted within a second or two.
        generations: of every shard, in order.
    """

    rows: int
    of: int
    generations: tuple[int, ...]
    missing_shards: tuple[int, ...] = ()

    @property
    def version(self) -> int:
        """Give what clients see as the version of a hit: the highest generation."""
        return max(self.generations, default=0)


@dataclass(frozen=True, slots=True, eq=False)
class ScoredPoint:
    """One hit: `score` in the dialect's terms, `payload` a JSON object as bytes; None what was not asked for."""

    id: Id
    score: float
    payload: bytes | None = None
    vectors: NamedVectors | None = None


@dataclass(frozen=True, slots=True, eq=False)
class QueryResult:
    """Hits of one query, best first, in columns.

    Attributes:
        scores: cosine or inner product, falling; Euclidean distance, rising.
        payloads: JSON objects as bytes; None when they were not asked for.
        vectors: by name, those of a cosine field with length 1; None when they were not asked for.
    """

    ids: Sequence[Id]
    scores: Sequence[float]
    payloads: Sequence[bytes] | None
    vectors: Sequence[NamedVectors] | None
    coverage: Coverage

    @property
    def points(self) -> Iterator[ScoredPoint]:
        """Give the hits one by one."""
        for place, (id, score) in enumerate(zip(self.ids, self.scores, strict=True)):
            payload = None if self.payloads is None else self.payloads[place]
            yield ScoredPoint(id, score, payload, None if self.vectors is None else self.vectors[place])


@dataclass(frozen=True, slots=True, eq=False)
class AlikeResult:
    """Hits of queries that differ only in their vectors, best first, in columns.

    Attributes:
        ids_QK3: as `ids.id_words`; a query has no more hits where the kind is NO_ID.
        scores_QK: as in QueryResult.
    """

    ids_QK3: NDArray[np.uint64]
    scores_QK: NDArray[np.float32]
    coverage: Coverage


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """The best hits that share a value of the payload."""

    id: str | int
    hits: Sequence[ScoredPoint]


@dataclass(frozen=True, slots=True, eq=False)
class GroupsResult:
    """Groups by their best hit, best first; fewer or smaller ones than wanted where the rows, or the 2,048 best of them, end."""

    groups: Sequence[Group]
    coverage: Coverage


@dataclass(frozen=True, slots=True, eq=False)
class ScrollResult:
    """One page of rows, and the id at which the next page starts; None at the end."""

    records: Sequence[Record]
    next_offset: Id | None


@dataclass(frozen=True, slots=True)
class WriteResult:
    """A durable write: the largest number it has in the log of a shard, None if it changed nothing.

    `completed` says that every search that comes later sees it.
    """

    operation_id: int | None
    completed: bool


@dataclass(frozen=True, slots=True)
class IndexedKey:
    """A payload key that shards keep in columns: kind of its values, and points that have one."""

    kind: str
    num_points: int


@dataclass(frozen=True, slots=True)
class CollectionFacts:
    """What a collection is and holds.

    Attributes:
        num_unsealed: changes that the generations do not have.
        recalls: by shard the share of the 10 nearest that searches found lately, None where that is not known.
        is_settled: every shard has applied what was written here, and no generation is overdue.
    """

    collection: Collection
    num_rows: int
    num_indexed: int
    generations: tuple[int, ...]
    num_unsealed: int = 0
    recalls: tuple[float | None, ...] = ()
    is_settled: bool = True
    aliases: tuple[str, ...] = ()
    payload_schema: Mapping[str, IndexedKey] = field(default_factory=dict)
