"""One shard: a sealed generation, the rows written since, and deletes as a bitmap, searched as one.

Every write adds rows at the end and marks the rows it replaces as dead, so row numbers never change while a shard is loaded.
Every score that leaves is computed from the stored vectors by one function (scoring.py); equal scores are ordered by id.

Legend: N rows, D dimension, Q queries, K hits, R candidates, A allowed rows, P positions of one vector name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

from reelspace.core.errors import UserError
from reelspace.search.compute.filter_cache import Allowed, FilterCache
from reelspace.search.compute.half_rows import HALF_BYTES, SMALLEST, HalfRows
from reelspace.search.compute.hits import NO_SCORE, Rows, nothing
from reelspace.search.compute.kept_rows import Kept, KeptRows, Key
from reelspace.search.compute.mapped_file import MappedFile
from reelspace.search.compute.payloads import Payloads
from reelspace.search.compute.ranking import rank
from reelspace.search.compute.row_ids import RowIds, SealedIds
from reelspace.search.compute.scoring import Compared, Floats, Ints, stored_form
from reelspace.search.compute.vector_index import SPARE_CANDIDATES, Effort, Part, SealedVectors, VectorIndex, best_guesses
from reelspace.search.storage.entries import Entry
from reelspace.search.storage.ids import Id
from reelspace.search.storage.points import changed
from reelspace.search.storage.rows import MAX_SQUARED_LENGTH, Op
from reelspace.search.storage.rows import Rows as LogRows

MAX_K: Final = 2048
SCAN_ROWS: Final = 2500
"""So few allowed rows are compared one by one at once; more only when a filter is asked for again."""
KEPT_ROWS: Final = 20_000
"""So many allowed rows are gathered and kept for filters that are asked for again."""
FLOAT_BYTES: Final = 4
POSITION_BYTES: Final = 8
MAX_GUESSES: Final = 1 << 22
"""So many scores of an exact search are in memory at a time."""
WIDER: Final = 4
UNIT: Final = 1e-5
"""Squared lengths this near 1 are left as they are."""


class QueryRefused(UserError):
    """A query that no index may see: wrong shape, not finite, unknown vectors, or too many hits wanted."""


@dataclass(frozen=True, slots=True, eq=False)
class ShardParts:
    """What a generation consists of; the payloads and ids are of the same rows, `applied` is the last log number among them.

    `mapped_files` are those whose bytes stay in their files, where vectors and indexes read them.
    """

    vectors: Mapping[str, SealedVectors]
    ids: SealedIds
    payloads: Payloads
    applied: int = 0
    mapped_files: tuple[MappedFile, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Wanted:
    """What one search may find: bits of positions (None: all), their share, and per query positions that must not be hits."""

    bits: NDArray[np.uint8] | None
    share: float
    excluded: Sequence[Ints] | None


class Shard:
    """Searches and changes one shard. Calls come from one thread at a time."""

    def __init__(self, parts: ShardParts, device: int | None = None, num_threads: int = 1) -> None:
        self._ids = RowIds(parts.ids)
        self._payloads = parts.payloads
        self._filters = FilterCache(parts.payloads, self._ids.rows_of)
        self._indexes = {name: VectorIndex(sealed, device, num_threads) for name, sealed in parts.vectors.items()}
        self._dead_N = np.zeros(len(parts.ids), dtype=np.bool_)
        self._num_dead = 0
        self._live_bits: NDArray[np.uint8] | None = None
        self._kept = KeptRows()
        self.mapped_files = parts.mapped_files
        self.applied = parts.applied

    @property
    def num_rows(self) -> int:
        """Rows that are not deleted."""
        return self._ids.num_rows - self._num_dead

    @property
    def num_all_rows(self) -> int:
        """Rows with the deleted and replaced ones."""
        return self._ids.num_rows

    @property
    def num_unsealed(self) -> int:
        """Changes that the generation does not have: rows added, and sealed rows that died."""
        added = self._ids.num_rows - self._ids.num_sealed
        return added + int(np.count_nonzero(self._dead_N[: self._ids.num_sealed]))

    @property
    def ids(self) -> RowIds:
        """The ids of all rows."""
        return self._ids

    @property
    def payloads(self) -> Payloads:
        """The payloads of all rows."""
        return self._payloads

    @property
    def indexes(self) -> Mapping[str, VectorIndex]:
        """The vectors by name."""
        return self._indexes

    @property
    def dead_N(self) -> NDArray[np.bool_]:
        """Which rows are deleted or replaced."""
        return self._dead_N[: self._ids.num_rows]

    @property
    def size_bytes(self) -> int:
        """Memory of vectors, codes, ids and what is kept for filters, about."""
        vectors = sum(index.size_bytes for index in self._indexes.values())
        return self._ids.size_bytes + vectors + self._filters.size_bytes + self._kept.size_bytes

    def apply(self, entry: Entry) -> None:
        """Change the rows as an object of the log says, numbers come in order, and put into lists what are many of them."""
        self.add(entry)
        while self.grow():
            pass

    def grow(self) -> bool:
        """Put some of the newest rows into lists, where they are many; tells whether any were."""
        step = self.to_grow()
        if step is not None:
            step()
        return step is not None

    def to_grow(self) -> Callable[[], None] | None:
        """Give a short change that does so, after what takes long of it: during this, searches in other threads may go on."""
        for index in self._indexes.values():
            growth = index.to_grow()
            if growth is not None:
                return partial(index.grow, growth)
        return None

    def add(self, entry: Entry) -> None:
        """Change the rows as an object of the log says; numbers come in order."""
        for write in entry.writes:
            self._apply(write.rows)
        self._live_bits = None
        self.applied = entry.number

    def search(
        self, vectors_QD: Floats, k: int, *, using: str = "", where: bytes = b"", excluded: Sequence[Sequence[Id]] | None = None
    ) -> Rows:
        """Find the rows nearest to each query.

        Args:
            vectors_QD: finite; scaled here where the metric is cosine.
            k: hits per query, 1 to MAX_K.
            where: bytes of `filters.encode_filter`; few allowed rows are compared exactly, many are searched with more lists.
            excluded: per query, ids that must not be hits; unknown ones are no matter.

        Returns:
            Fewer than k rows only when fewer may be hits; equal scores are ordered by id, also where they cross the k-th place.

        Raises:
            QueryRefused: the vectors' name, shape, or a value that is not finite; or k.
            FilterRefused, KeyRefused: `where` is no filter.
        """
        index, vectors_QD = self._checked(vectors_QD, k, using)
        banned = None if excluded is None or not any(excluded) else [index.positions(self._ids.rows_of(ids)) for ids in excluded]
        allowed = self._filters.allowed(where) if where else None
        if allowed is not None:
            few = self._few(index, allowed, (where, using), len(vectors_QD))
            if few is not None:
                return self._rank_few(index, vectors_QD, k, few, banned)
        bits, share = self._bits(allowed)
        wanted = _Wanted(index.position_bits(bits, self.num_all_rows), share, banned)
        return self._widening(index, vectors_QD, k, wanted)

    def lone(self, vector_D: Floats, k: int, using: str, where: bytes) -> tuple[list[int], list[float]] | None:
        """Answer the usual lone query, rows and scores of exactly k hits; None for one that `search` must answer."""
        index = self._indexes.get(using)
        if index is None or vector_D.ndim != 1 or len(vector_D) != index.facts.dimension or not 1 <= k <= MAX_K:
            return None
        square = float(vector_D.dot(vector_D))
        if not (1 - UNIT < square < 1 + UNIT if index.facts.metric == "cosine" else square <= MAX_SQUARED_LENGTH):
            return None
        if where:
            kept = self._kept.asked((where, using))
            if kept is None or kept.compared is None or kept.positions_A is None or kept.state != self._state:
                return None
            found = index.lone_among(vector_D, k, kept.positions_A, kept.compared)
        else:
            found = None if self._num_dead else index.lone(vector_D, k)
        return None if found is None else (index.rows_listed(found[0]), found[1])

    @property
    def _state(self) -> tuple[int, int, int]:
        return self._ids.num_rows, self._num_dead, self._payloads.edition.num_changes

    def search_exactly(self, vectors_QD: Floats, k: int, *, using: str = "", where: bytes = b"") -> Rows:
        """Compare with every row: what `search` is measured against."""
        index, vectors_QD = self._checked(vectors_QD, k, using)
        positions_A = _places(index, np.flatnonzero(self.allowed_rows(where)))
        kept = Kept(self._state, positions_A, Compared.of(index.gather(positions_A), index.facts.metric))
        found = nothing(len(vectors_QD), k)
        at_once = max(1, MAX_GUESSES // max(1, len(positions_A)))
        for start in range(0, len(vectors_QD), at_once):
            some = slice(start, start + at_once)
            part = self._rank_few(index, vectors_QD[some], k, kept, None)
            found.rows_QK[some], found.scores_QK[some] = part.rows_QK, part.scores_QK
        return found

    def allowed_rows(self, where: bytes) -> NDArray[np.bool_]:
        """Tell for each row whether it is alive and a filter allows it."""
        mask_N = ~self.dead_N
        return mask_N & self._filters.allowed(where).mask_N() if where else mask_N

    def _apply(self, rows: LogRows) -> None:
        start, ops = 0, rows.ops_N.tolist()
        for place, op in enumerate(ops):
            if op == Op.UPSERT:
                continue
            self._upsert(rows, start, place)
            start = place + 1
            row = self._ids.row_of(rows.ids[place])
            if row < 0 or self._dead_N[row]:
                continue
            if op == Op.DELETE:
                self._kill([row])
            else:
                given = orjson.loads(rows.payloads[place] or b"null")
                self._payloads.overwrite(row, orjson.dumps(changed(self._payloads.payload(row), Op(op), given)))
        self._upsert(rows, start, len(ops))

    def _upsert(self, rows: LogRows, start: int, end: int) -> None:
        """Add the rows of consecutive upserts."""
        if start == end:
            return
        first = self._ids.num_rows
        replaced = self._ids.append(rows.ids[start:end])
        self._payloads.append_checked([payload or b"{}" for payload in rows.payloads[start:end]])
        if self._ids.num_rows > len(self._dead_N):
            self._dead_N = np.concatenate([self._dead_N, np.zeros(max(1024, len(self._dead_N) // 2, end - start), dtype=np.bool_)])
        self._kill(replaced)
        for name, index in self._indexes.items():
            given = rows.vectors.get(name)
            if given is None:
                index.append(np.empty(0, dtype=np.int64), np.empty((0, index.facts.dimension), dtype=np.float32), self._ids.num_rows)
                continue
            low, high = np.searchsorted(given.rows_M, [start, end])
            rows_M = given.rows_M[low:high] - start + first
            index.append(rows_M, given.vectors_MD[low:high], self._ids.num_rows)

    def _kill(self, rows: Sequence[int]) -> None:
        for row in rows:
            if not self._dead_N[row]:
                self._dead_N[row] = True
                self._num_dead += 1

    def _checked(self, vectors_QD: Floats, k: int, using: str) -> tuple[VectorIndex, Floats]:
        index = self._indexes.get(using)
        if index is None:
            raise QueryRefused(f"using: expected one of the vectors {', '.join(map(repr, self._indexes))}, got {using[:80]!r}")
        dimension = index.facts.dimension
        if vectors_QD.ndim != 2 or vectors_QD.shape[1] != dimension or vectors_QD.dtype != np.float32:
            raise QueryRefused(f"vector: expected float32 of length {dimension}, got {vectors_QD.dtype} {list(vectors_QD.shape)}")
        if not 1 <= k <= MAX_K:
            raise QueryRefused(f"limit: expected 1 to {MAX_K} hits, got {k}")
        # A sum of squares is so small only where every number is finite.
        squares_Q = [float(vector_D.dot(vector_D)) for vector_D in vectors_QD]
        if not all(square <= MAX_SQUARED_LENGTH for square in squares_Q):
            if not np.isfinite(vectors_QD).all():
                raise QueryRefused("vector: expected finite numbers, got NaN or infinity")
            raise QueryRefused(f"vector: expected a squared length of at most {MAX_SQUARED_LENGTH:.3g}: scores would overflow float32")
        if index.facts.metric == "cosine" and not all(1 - UNIT < square < 1 + UNIT for square in squares_Q):
            if not vectors_QD.any(axis=1).all():
                raise QueryRefused("vector: expected a vector that is not all zeros: cosine needs a direction")
            vectors_QD = stored_form(vectors_QD, "cosine")
        return index, vectors_QD

    def _bits(self, allowed: Allowed | None) -> tuple[NDArray[np.uint8] | None, float]:
        """Give the rows that may be hits as bits, None for all, and about which share they are."""
        num_rows = max(1, self.num_all_rows)
        if self._num_dead and self._live_bits is None:
            self._live_bits = np.packbits(~self.dead_N, bitorder="little")
        if allowed is None:
            return (self._live_bits, 1.0) if self._num_dead else (None, 1.0)
        bits = allowed.bits if self._live_bits is None or not self._num_dead else allowed.bits & self._live_bits
        return bits, max(allowed.num_allowed, 1) / num_rows

    def _few(self, index: VectorIndex, allowed: Allowed, key: Key, num_queries: int) -> Kept | None:
        """Give the allowed rows, if they are few, or a filter is asked for again; None where lists are cheaper."""
        known = self._kept.asked(key)
        valid = known if known is not None and known.state == self._state else None
        if valid is not None and valid.compared is not None:
            return valid
        num_rows, limit = allowed.num_allowed, SCAN_ROWS if known is None and index.selectors else KEPT_ROWS
        # For a lone query, vectors where they lie are read faster than gathered ones are written.
        is_gathered = (known is not None or num_queries > 1) and num_rows <= limit
        number_bytes = HALF_BYTES if index.facts.metric == "cosine" else FLOAT_BYTES
        is_gathered = is_gathered and self._kept.make_room(num_rows * (index.facts.dimension * number_bytes + POSITION_BYTES))
        if valid is not None and not is_gathered:
            return None if valid.positions_A is None else valid
        if num_rows > (limit if is_gathered or not index.selectors else SCAN_ROWS):
            self._kept.put(key, Kept(self._state))
            return None
        positions_A = self._positions(index, allowed)
        return self._kept.put(key, self._gathered(index, positions_A) if is_gathered else Kept(self._state, positions_A))

    def _positions(self, index: VectorIndex, allowed: Allowed) -> Ints:
        rows_A = np.flatnonzero(allowed.mask_N())
        if self._num_dead:
            rows_A = rows_A[~self._dead_N[rows_A]]
        return _places(index, rows_A)

    def _gathered(self, index: VectorIndex, positions_A: Ints) -> Kept:
        vectors_AD, metric = index.gather(positions_A), index.facts.metric
        # Other vectors than unit ones may be too large or too small for half the bits.
        compared = HalfRows.of(vectors_AD) if metric == "cosine" else Compared.of(vectors_AD, metric)
        return Kept(self._state, positions_A, compared)

    def _rank_few(self, index: VectorIndex, vectors_QD: Floats, k: int, kept: Kept, excluded: Sequence[Ints] | None) -> Rows:
        """Rank rows that are all compared."""
        num, positions_A = k + SPARE_CANDIDATES, kept.positions_A
        if positions_A is None or not len(positions_A):
            return nothing(len(vectors_QD), k)
        if isinstance(kept.compared, HalfRows):
            return self._rank_halves(index, vectors_QD, k, (positions_A, kept.compared), excluded)
        if kept.compared is not None:
            guesses_QA = kept.compared.guesses(vectors_QD)
        else:
            guesses_QA = np.concatenate([index.scores(vector_D[None], positions_A[None]) for vector_D in vectors_QD])
        for row, banned in enumerate(excluded or ()):
            guesses_QA[row, np.isin(positions_A, banned)] = NO_SCORE
        while True:
            part = best_guesses(positions_A, guesses_QA, num)
            found, open_Q = rank(index, self._ids, vectors_QD, k, [part])
            if not open_Q.any():
                return found
            num *= WIDER

    def _rank_halves(
        self, index: VectorIndex, vectors_QD: Floats, k: int, rows: tuple[Ints, HalfRows], excluded: Sequence[Ints] | None
    ) -> Rows:
        positions_A, halves = rows
        num = k + SPARE_CANDIDATES + (max(map(len, excluded)) if excluded else 0)
        while True:
            num = min(num, len(positions_A))
            places_QR, guesses_QR = halves.best(vectors_QD, num)
            positions_QR = positions_A[places_QR]
            _ban(positions_QR, excluded)
            largest = float(np.abs(guesses_QR[:, [0, -1]]).max(axis=1).min())
            margin = np.float32(halves.margin / max(largest, SMALLEST))
            found, open_Q = rank(index, self._ids, vectors_QD, k, [Part(positions_QR, guesses_QR, True, num == len(positions_A), margin)])
            if not open_Q.any():
                return found
            num *= WIDER

    def _widening(self, index: VectorIndex, vectors_QD: Floats, k: int, wanted: _Wanted) -> Rows:
        """Search, and again further for the queries that had too few hits, or a tie that crosses the k-th place."""
        num_excluded = max(map(len, wanted.excluded)) if wanted.excluded else 0
        num = int(np.ceil(k * index.facts.index.rerank_factor)) + num_excluded + SPARE_CANDIDATES
        effort = Effort(num, 1.0 / wanted.share)
        found, open_Q = self._round(index, vectors_QD, k, effort, wanted)
        while open_Q.any():
            effort = Effort(WIDER * effort.num_candidates, WIDER * effort.widening)
            excluded = None if wanted.excluded is None else [one for one, is_open in zip(wanted.excluded, open_Q, strict=True) if is_open]
            part, still_open = self._round(index, vectors_QD[open_Q], k, effort, _Wanted(wanted.bits, wanted.share, excluded))
            found.rows_QK[open_Q], found.scores_QK[open_Q] = part.rows_QK, part.scores_QK
            open_Q[open_Q] = still_open
        return found

    def _round(self, index: VectorIndex, vectors_QD: Floats, k: int, effort: Effort, wanted: _Wanted) -> tuple[Rows, NDArray[np.bool_]]:
        parts = list(index.parts(vectors_QD, effort, wanted.bits))
        if not parts:
            return nothing(len(vectors_QD), k), np.zeros(len(vectors_QD), dtype=np.bool_)
        for part in parts:
            _ban(part.positions_QR, wanted.excluded)
        return rank(index, self._ids, vectors_QD, k, parts)


def _ban(positions_QR: Ints, excluded: Sequence[Ints] | None) -> None:
    """Let positions that must not be hits be none, in place."""
    if excluded is not None:
        for positions_R, banned in zip(positions_QR, excluded, strict=True):
            positions_R[np.isin(positions_R, banned)] = -1


def _places(index: VectorIndex, rows_A: Ints) -> Ints:
    """Give the places of the vectors of rows; rows without one are left out."""
    positions_A = index.positions(rows_A)
    return positions_A[positions_A >= 0]
