"""One shard: a sealed faiss index, the stored vectors that score its candidates again, ids and payload.

Row numbers are dense and follow the ids, so order by row is order by id. Every score that leaves is computed from the stored
vectors by one function, so it does not depend on the index, the batch, the number of shards or the device.

Legend: N rows, D dimension, Q queries, K hits, R candidates, E ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from reelspace.core.errors import UserError
from reelspace.search.compute.hits import NO_ID, NO_SCORE, Rows, rank
from reelspace.search.compute.library import faiss
from reelspace.search.compute.place import place
from reelspace.search.storage.layout import IndexFacts

MAX_K: Final = 2048
SCAN_ROWS: Final = 10_000
SPARE_CANDIDATES: Final = 8
ROWS_PER_LIST_HIT: Final = 8
GATHERED_FLOATS: Final = 4 << 20

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class QueryRefused(UserError):
    """A query that no index may see: wrong shape, not finite, or too many hits wanted."""


@dataclass(frozen=True, slots=True)
class ShardParts:
    """What a shard consists of: ids strictly ascending, one vector of length 1 and one payload row each."""

    facts: IndexFacts
    index: Any
    ids_N: Ints
    vectors_ND: Floats
    payload: pa.Table


@dataclass(frozen=True, slots=True)
class _Effort:
    """How far one round of a search looks; `nprobe` is None for a flat index."""

    num_candidates: int
    nprobe: int | None


class Shard:
    """Searches one sealed generation. Calls come from one thread at a time."""

    def __init__(self, parts: ShardParts, device: int | None = None, num_threads: int = 1) -> None:
        self._parts = parts
        self._placed = place(parts.index, device)
        self._num_threads = num_threads

    @property
    def num_rows(self) -> int:
        """Rows of the shard."""
        return len(self._parts.ids_N)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._parts.vectors_ND.shape[1])

    @property
    def kind(self) -> str:
        """Kind of the index: flat or ivf_sq8."""
        return self._parts.facts.kind

    def search(
        self, vectors_QD: Floats, k: int, *, excluded: Sequence[Ints] | None = None, allowed_N: NDArray[np.bool_] | None = None
    ) -> Rows:
        """Find the rows nearest to each query.

        Args:
            vectors_QD: finite, length 1 for scores that are cosines.
            k: hits per query, 1 to MAX_K.
            excluded: per query, ids that must not be hits; unknown ones are no matter.
            allowed_N: rows that may be hits; few of them are compared exactly, many are searched with more lists.

        Returns:
            Fewer than k rows only when fewer may be hits; equal scores are ordered by id, also where they cross the k-th place.

        Raises:
            QueryRefused: the vectors' shape, a value that is not finite, or k.
        """
        self._check(vectors_QD, k)
        excluded_rows = self._excluded_rows(excluded, len(vectors_QD))
        if allowed_N is not None and (np.count_nonzero(allowed_N) <= SCAN_ROWS or not self._placed.selectors):
            return self._scan(vectors_QD, k, excluded_rows, np.flatnonzero(allowed_N))
        effort = self._first_effort(k, max(map(len, excluded_rows), default=0), allowed_N)
        found, open_Q = self._round(vectors_QD, k, excluded_rows, allowed_N, effort)
        while open_Q.any():
            effort = self._more(effort)
            again = [rows for rows, is_open in zip(excluded_rows, open_Q, strict=True) if is_open]
            part, still_open = self._round(vectors_QD[open_Q], k, again, allowed_N, effort)
            found.rows_QK[open_Q], found.scores_QK[open_Q] = part.rows_QK, part.scores_QK
            open_Q[open_Q] = still_open
        return found

    def search_exactly(self, vectors_QD: Floats, k: int, *, excluded: Sequence[Ints] | None = None) -> Rows:
        """Compare with every row: what `search` is measured against."""
        self._check(vectors_QD, k)
        return self._scan(vectors_QD, k, self._excluded_rows(excluded, len(vectors_QD)), np.arange(self.num_rows))

    def ids(self, rows_QK: Ints) -> Ints:
        """Give the ids of rows; a missing hit stays NO_ID."""
        if not self.num_rows:
            return np.full_like(rows_QK, NO_ID)
        return np.where(rows_QK < 0, NO_ID, self._parts.ids_N[rows_QK])

    def rows_of(self, ids_E: Ints) -> Ints:
        """Give the row of each id, -1 for an unknown one."""
        if not self.num_rows:
            return np.full(len(ids_E), NO_ID, dtype=np.int64)
        rows_E = np.minimum(np.searchsorted(self._parts.ids_N, ids_E), self.num_rows - 1)
        return np.where(self._parts.ids_N[rows_E] == ids_E, rows_E, NO_ID).astype(np.int64)

    def vectors(self, rows_E: Ints) -> Floats:
        """Give stored vectors; all zeros for row -1, which no stored vector is."""
        found = np.zeros((len(rows_E), self.dimension), dtype=np.float32)
        known_E = rows_E >= 0
        found[known_E] = self._parts.vectors_ND[rows_E[known_E]]
        return found

    def payload_json(self, rows_K: Ints) -> list[bytes]:
        """Give each row's payload as a JSON object, times in RFC 3339; `null` for row -1."""
        known_K = rows_K[rows_K >= 0]
        values = iter(self._parts.payload.take(pa.array(known_K)).to_pylist())
        return [orjson.dumps(next(values), option=orjson.OPT_UTC_Z) if row >= 0 else b"null" for row in rows_K]

    def _check(self, vectors_QD: Floats, k: int) -> None:
        if vectors_QD.ndim != 2 or vectors_QD.shape[1] != self.dimension or vectors_QD.dtype != np.float32:
            raise QueryRefused(f"vector: expected float32 of length {self.dimension}, got {vectors_QD.dtype} {list(vectors_QD.shape)}")
        if not np.isfinite(vectors_QD).all():
            raise QueryRefused("vector: expected finite numbers, got NaN or infinity")
        if not 1 <= k <= MAX_K:
            raise QueryRefused(f"limit: expected 1 to {MAX_K} hits, got {k}")

    def _excluded_rows(self, excluded: Sequence[Ints] | None, num_queries: int) -> list[Ints]:
        if excluded is None:
            return [np.empty(0, dtype=np.int64)] * num_queries
        rows = [self.rows_of(ids_E) for ids_E in excluded]
        return [rows_E[rows_E >= 0] for rows_E in rows]

    def _first_effort(self, k: int, num_excluded: int, allowed_N: NDArray[np.bool_] | None) -> _Effort:
        facts = self._parts.facts
        wanted = int(np.ceil(k * facts.rerank_factor)) + num_excluded + SPARE_CANDIDATES
        if facts.nprobe is None or facts.nlist is None:
            return _Effort(min(wanted, self.num_rows), None)
        share = 1.0 if allowed_N is None else np.count_nonzero(allowed_N) / self.num_rows
        lists_that_hold_enough = ROWS_PER_LIST_HIT * wanted * facts.nlist / self.num_rows
        nprobe = int(np.ceil(max(facts.nprobe, lists_that_hold_enough) / share))
        return _Effort(min(wanted, self.num_rows), min(nprobe, facts.nlist))

    def _more(self, effort: _Effort) -> _Effort:
        nlist = self._parts.facts.nlist
        nprobe = None if effort.nprobe is None or nlist is None else min(4 * effort.nprobe, nlist)
        return _Effort(min(4 * effort.num_candidates, self.num_rows), nprobe)

    def _round(
        self, vectors_QD: Floats, k: int, excluded_rows: Sequence[Ints], allowed_N: NDArray[np.bool_] | None, effort: _Effort
    ) -> tuple[Rows, NDArray[np.bool_]]:
        """Search once; tells also which queries must look further, for too few hits or a tie that crosses the k-th place."""
        rows_QR, guesses_QR = self._candidates(vectors_QD, effort, allowed_N)
        scores_QR = self._scores(vectors_QD, rows_QR)
        for scores_R, rows_R, rows_E in zip(scores_QR, rows_QR, excluded_rows, strict=True):
            if len(rows_E):
                scores_R[np.isin(rows_R, rows_E)] = NO_SCORE
        found = rank(rows_QR, scores_QR, k)
        if not rows_QR.shape[1]:
            return found, np.zeros(len(vectors_QD), dtype=np.bool_)
        lowest_Q = found.scores_QK[:, -1]
        kept_QR = (scores_QR >= lowest_Q[:, None]) & (rows_QR >= 0)
        lowest_guess_Q = np.where(kept_QR, guesses_QR, np.inf).min(axis=1)
        used_up_Q = rows_QR[:, -1] < 0
        more_rows_Q = ~used_up_Q & (guesses_QR[:, -1] >= lowest_guess_Q) & (effort.num_candidates < self.num_rows)
        more_lists_Q = used_up_Q & (lowest_Q == NO_SCORE) & (effort.nprobe != self._parts.facts.nlist)
        return found, more_rows_Q | more_lists_Q

    def _candidates(self, vectors_QD: Floats, effort: _Effort, allowed_N: NDArray[np.bool_] | None) -> tuple[Ints, Floats]:
        if not effort.num_candidates:
            return np.empty((len(vectors_QD), 0), dtype=np.int64), np.empty((len(vectors_QD), 0), dtype=np.float32)
        options = {}
        if allowed_N is not None:
            options["sel"] = faiss.IDSelectorBitmap(np.packbits(allowed_N, bitorder="little"))
        if effort.nprobe is not None:
            parameters = faiss.SearchParametersIVF(nprobe=effort.nprobe, **options)
        else:
            parameters = faiss.SearchParameters(**options)
        # The setting belongs to the calling thread.
        faiss.omp_set_num_threads(self._num_threads)
        guesses_QR, rows_QR = self._placed.index.search(vectors_QD, effort.num_candidates, params=parameters)
        return rows_QR, guesses_QR

    def _scores(self, vectors_QD: Floats, rows_QR: Ints) -> Floats:
        scores_QR = np.full(rows_QR.shape, NO_SCORE, dtype=np.float32)
        at_once = max(1, GATHERED_FLOATS // max(1, rows_QR.shape[1] * self.dimension))
        for start in range(0, len(rows_QR) if rows_QR.size else 0, at_once):
            part = slice(start, start + at_once)
            gathered_QRD = self._parts.vectors_ND[np.maximum(rows_QR[part], 0)]
            np.einsum("qd,qrd->qr", vectors_QD[part], gathered_QRD, out=scores_QR[part])
        return np.where(rows_QR < 0, NO_SCORE, scores_QR)

    def _scan(self, vectors_QD: Floats, k: int, excluded_rows: Sequence[Ints], rows_A: Ints) -> Rows:
        queries = zip(vectors_QD, excluded_rows, strict=True)
        found = [self._scan_one(vector_D, k, np.setdiff1d(rows_A, rows_E)) for vector_D, rows_E in queries]
        return Rows(np.concatenate([rows.rows_QK for rows in found]), np.concatenate([rows.scores_QK for rows in found]))

    def _scan_one(self, vector_D: Floats, k: int, rows_A: Ints) -> Rows:
        scores_1A = self._scores(vector_D[None], rows_A[None])
        if len(rows_A) > k:
            best_A = np.flatnonzero(scores_1A[0] >= np.partition(scores_1A[0], -k)[-k])
            rows_A, scores_1A = rows_A[best_A], scores_1A[:, best_A]
        return rank(rows_A[None], scores_1A, k)
