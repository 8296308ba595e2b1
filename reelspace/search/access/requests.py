"""Checked requests of clients, the same whether they came as JSON or as protobuf messages. Parsers make them, services answer them.

Legend: D dimension, Q queries.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reelspace.search.storage.ids import Id
from reelspace.search.storage.layout import VectorSettings
from reelspace.search.storage.payload_path import Path
from reelspace.search.storage.rows import Change, Op


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a row an answer brings: the payload, all of it or what paths include and do not exclude; vectors by name."""

    with_payload: bool = False
    include: tuple[Path, ...] | None = None
    exclude: tuple[Path, ...] = ()
    with_vectors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class VectorTarget:
    """Nearest to a vector: finite float32, not all zeros where the metric is cosine; not scaled."""

    vector_D: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PointTarget:
    """Nearest to a stored point, which is no hit itself."""

    point_id: Id


@dataclass(frozen=True, slots=True)
class TextTarget:
    """Nearest to words, embedded by a served model."""

    text: str
    model: str


@dataclass(frozen=True, slots=True)
class RecommendTarget:
    """Nearest to the mean of positive examples plus its distance from the mean of negative ones; points among them are no hits."""

    positive: "tuple[VectorTarget | PointTarget | TextTarget, ...]"
    negative: "tuple[VectorTarget | PointTarget | TextTarget, ...]"


Target = VectorTarget | PointTarget | TextTarget | RecommendTarget


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """One query.

    Attributes:
        place: how messages begin the names of its fields, as `searches[3].`, empty for a lone query.
        where: bytes of `filters.encode_filter`; empty allows every row.
        limit: hits wanted after `offset` better ones were skipped.
        score_threshold: in the dialect's terms: hits have a larger cosine or inner product, a smaller Euclidean distance.
    """

    target: Target
    limit: int
    place: str = ""
    using: str = ""
    offset: int = 0
    score_threshold: float | None = None
    where: bytes = b""
    selection: Selection = field(default_factory=Selection)
    allow_partial: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class AlikeRequests:
    """Queries that differ only in their vectors, and want neither payload nor vectors; `request` is the first of them."""

    request: QueryRequest
    vectors_QD: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class GroupsRequest:
    """The best hits of the best groups: rows that share a value at a payload key; `query.limit` counts groups."""

    query: QueryRequest
    group_by: str
    group_size: int


@dataclass(frozen=True, slots=True)
class RetrieveRequest:
    """Rows by id."""

    ids: tuple[Id, ...]
    selection: Selection


@dataclass(frozen=True, slots=True)
class ScrollRequest:
    """Rows in the order of their ids, from the id `offset` on."""

    where: bytes
    offset: Id | None
    limit: int
    selection: Selection


@dataclass(frozen=True, slots=True)
class PointsSelector:
    """Rows by id, or all that a filter allows; one of the two is None."""

    ids: tuple[Id, ...] | None = None
    where: bytes | None = None


@dataclass(frozen=True, slots=True)
class Upsert:
    """Rows to put in the place of whatever was there; every change has the op UPSERT and checked vectors and payload."""

    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """Rows to delete."""

    selector: PointsSelector


@dataclass(frozen=True, slots=True)
class PayloadEdit:
    """An op on the payloads of existing rows; `payload` is what rows.Op says of the op."""

    op: Op
    payload: Mapping[str, object] | tuple[str, ...]
    selector: PointsSelector


Write = Upsert | Delete | PayloadEdit


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """Writes to apply one after the other.

    Attributes:
        wait: answer only when every search that comes later sees the writes; else when they are durable.
        request_key: the client's own name of the request, under which it may be sent again; None makes one.
    """

    writes: tuple[Write, ...]
    wait: bool = False
    request_key: str | None = None


@dataclass(frozen=True, slots=True)
class CreateCollection:
    """A collection to create."""

    vectors: Mapping[str, VectorSettings]
    num_shards: int


@dataclass(frozen=True, slots=True)
class CreateAlias:
    """Let an alias mean a collection, whatever it meant before."""

    alias: str
    collection: str


@dataclass(frozen=True, slots=True)
class DeleteAlias:
    """Forget an alias."""

    alias: str


@dataclass(frozen=True, slots=True)
class RenameAlias:
    """Call an alias by another name."""

    old: str
    new: str


AliasAction = CreateAlias | DeleteAlias | RenameAlias
