"""What a shard is asked and what it answers, wherever it runs.

Legend: Q queries, K hits, D dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, overload

import numpy as np
from numpy.typing import NDArray

from reelspace.search.storage.ids import Id

MAX_UNSEALED: Final = 20_000
MAX_UNSEALED_SHARE: Final = 0.2
MAX_LOOSE: Final = 2_000
MAX_LOOSE_SHARE: Final = 0.01
GONE: Final = "this generation is not loaded"
"""So begins what a shard says that is asked for a generation which it does not have."""
RECALL_TOLERANCE: Final = 0.05
"""The recall is known from a few hundred hits only."""


@dataclass(frozen=True, slots=True, eq=False)
class ShardQuery:
    """One search.

    Attributes:
        vector_D: finite float32; where the metric is cosine it need not have length 1.
        using: name of the vectors that are searched.
        where: bytes of `filters.encode_filter`; empty allows every row.
        excluded: ids that must not be hits, beside the filter, so that answers to the filter are shared.
        with_vectors: names of the vectors that every hit brings.
    """

    vector_D: NDArray[np.float32]
    k: int
    using: str = ""
    where: bytes = b""
    excluded: tuple[Id, ...] = ()
    with_payload: bool = False
    with_vectors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class AlikeQueries(Sequence[ShardQuery]):
    """Searches that differ only in their vectors and exclude nothing, in columns: many objects would cost more than their search."""

    vectors_QD: NDArray[np.float32]
    k: int
    using: str = ""
    where: bytes = b""
    with_payload: bool = False
    with_vectors: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.vectors_QD)

    @overload
    def __getitem__(self, place: int) -> ShardQuery: ...

    @overload
    def __getitem__(self, place: slice) -> "AlikeQueries": ...

    def __getitem__(self, place: int | slice) -> "ShardQuery | AlikeQueries":
        rest = self.k, self.using, self.where
        if isinstance(place, slice):
            return AlikeQueries(self.vectors_QD[place], *rest, self.with_payload, self.with_vectors)
        return ShardQuery(self.vectors_QD[place], *rest, (), self.with_payload, self.with_vectors)

    def is_like(self, other: "AlikeQueries") -> bool:
        """Tell whether these and others ask for the same, so that they may be put side by side."""
        return (
            (self.k, self.using, self.where, self.with_payload) == (other.k, other.using, other.where, other.with_payload)
            and self.with_vectors == other.with_vectors
            and self.vectors_QD.shape[1] == other.vectors_QD.shape[1]
        )


def joined(parts: Sequence[Sequence[ShardQuery]]) -> Sequence[ShardQuery]:
    """Put the queries of some parts, at least one, side by side: in columns where all of them are alike."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, AlikeQueries):
        alike = [part for part in parts if isinstance(part, AlikeQueries) and part.is_like(first)]
        if len(alike) == len(parts):
            vectors_QD = np.concatenate([part.vectors_QD for part in alike])
            return AlikeQueries(vectors_QD, first.k, first.using, first.where, first.with_payload, first.with_vectors)
    return [query for part in parts for query in part]


@dataclass(frozen=True, slots=True, eq=False)
class ShardAnswer:
    """The hits of several queries, best first; a missing hit has the id kind NO_ID and the worst score.

    Attributes:
        ids_QK3: uint64, as `ids.id_words`.
        scores_QK: float32, higher is better: cosine, inner product, or the negative squared distance; -inf where there is no hit.
        payloads_QK: JSON objects as bytes, None when no query asked for them.
        vectors_QK: JSON objects as bytes, lists of numbers by name; None when no query asked for them.
    """

    ids_QK3: NDArray[np.uint64]
    scores_QK: NDArray[np.float32]
    payloads_QK: NDArray[np.object_] | None = None
    vectors_QK: NDArray[np.object_] | None = None


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Look rows up by id; unknown ids are left out of the answer, the order is that of the ids."""

    ids: tuple[Id, ...]
    with_payload: bool = True
    with_vectors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scroll:
    """List rows in the order of their ids, from the id `start` on."""

    where: bytes
    start: Id | None
    limit: int
    with_payload: bool = True
    with_vectors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Count:
    """Count the rows that a filter allows."""

    where: bytes


@dataclass(frozen=True, slots=True)
class Describe:
    """Tell what the shard holds."""


Read = Retrieve | Scroll | Count | Describe


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One row: `payload` is a JSON object as bytes, `vectors` float32 by name; None where they were not asked for.

    Vectors of a cosine field have length 1, as they are stored.
    """

    id: Id
    payload: bytes | None = None
    vectors: dict[str, NDArray[np.float32]] | None = None


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """What a shard holds: live rows, rows in indexes, last log number applied, generation, bytes of memory, changes beside it.

    `recall` is the share of the 10 nearest that searches found lately, None where that is not known; `recall_target` what is to be;
    `loaded` the generations that can be asked for; `refused` those that the pointer names and that cannot be loaded, and why;
    `num_damages` how often what was loaded was found changed.
    """

    num_rows: int
    num_indexed: int
    applied: int
    generation: int
    size_bytes: int
    num_unsealed: int = 0
    recall: float | None = None
    recall_target: float = 0.0
    loaded: tuple[int, ...] = ()
    refused: tuple[tuple[int, str], ...] = ()
    num_damages: int = 0

    @property
    def has_low_recall(self) -> bool:
        """Tell whether searches find clearly less than they should."""
        return self.recall is not None and self.recall < self.recall_target - RECALL_TOLERANCE

    @property
    def is_overdue(self) -> bool:
        """Tell whether so much lies beside the generation that the next one should be built."""
        return self.num_unsealed > max(MAX_UNSEALED, MAX_UNSEALED_SHARE * self.num_rows)

    @property
    def is_loose(self) -> bool:
        """Tell whether enough lies beside the generation to slow searches: the next one should be built when no more comes."""
        return self.num_unsealed > max(MAX_LOOSE, MAX_LOOSE_SHARE * self.num_rows)


ReadAnswer = list[Record] | int | ShardFacts
