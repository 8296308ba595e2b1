"""The vectors of one name in a shard: a sealed index, rows added since to lists of the same centroids, and the newest, compared all.

Positions count the vectors of this name, in the order of their rows; where every row has one, positions are row numbers.

Legend: N rows, P positions, D dimension, Q queries, R candidates, M new rows.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from reelspace.search.compute.half_rows import HalfRows
from reelspace.search.compute.library import faiss
from reelspace.search.compute.lone_query import FEW, Buffers, Found, at_least, best
from reelspace.search.compute.place import Placed, place
from reelspace.search.compute.scoring import MARGIN, Compared, Floats, Ints, faiss_metric, scores_at, stored_form
from reelspace.search.storage.layout import VectorFacts

GROW_ROWS: Final = 1024
"""So many rows are compared one by one before they are put into lists: below, that costs less than looking for lists again."""
GROW_AT_ONCE: Final = 128
"""So few rows are put into lists at a time: a tenth of a millisecond, after more than one in which their lists are looked up."""
SPARE_CANDIDATES: Final = 8
ROWS_PER_LIST_HIT: Final = 8
NO_GUESS: Final = np.float32(-np.inf)
NO_MARGIN: Final = np.float32(0)
NOTHING: Final = np.float32(-3e38)
"""faiss fills the places of missing candidates with the lowest float."""


@dataclass(frozen=True, slots=True, eq=False)
class SealedVectors:
    """What a generation holds of one name: facts, stored vectors, their rows (None: 0 to P - 1), and a faiss index over them.

    A flat index is None: the processor compares with the stored vectors themselves.
    """

    facts: VectorFacts
    index: Any
    vectors_PD: Floats
    rows_P: Ints | None = None


@dataclass(frozen=True, slots=True)
class Effort:
    """How far a round looks: candidates per query, how many times further than the tuned effort, and the share that may be hits."""

    num_candidates: int
    widening: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Candidates of one part by falling guess.

    Attributes:
        positions_QR: -1 where there is no candidate, or it may not be a hit.
        guesses_QR: at most NOTHING where there is no candidate.
        looked_everywhere: candidates were taken from the whole part, so that where some are missing there are no others.
        is_all: every position of the part is a candidate.
        margin: by what share guesses of equal rows may differ.
    """

    positions_QR: Ints
    guesses_QR: Floats
    looked_everywhere: bool
    is_all: bool
    margin: np.float32


@dataclass(frozen=True, slots=True, eq=False)
class Growth:
    """Rows on their way into lists: vectors, and the list of each."""

    vectors_MD: Floats
    lists_M: Ints


class VectorIndex:
    """Candidates for queries among the vectors of one name. Calls come from one thread at a time."""

    def __init__(self, sealed: SealedVectors, device: int | None, num_threads: int) -> None:
        self.facts = sealed.facts
        self._placed = _placed(sealed, device)
        self._num_threads = num_threads
        self._sealed_PD = np.ascontiguousarray(sealed.vectors_PD, dtype=np.float32)
        self._sealed_index = sealed.index
        self._rows_P = sealed.rows_P
        self._fresh = _FreshVectors(sealed.facts.dimension)
        self._grown: Any = None
        self._parameters: dict[int, Any] = {}
        self._lone_plans: dict[int, tuple[Buffers, Any]] = {}
        self._among: dict[int, Buffers] = {}

    @property
    def num_sealed(self) -> int:
        """Vectors of the generation."""
        return len(self._sealed_PD)

    @property
    def sealed_vectors(self) -> Floats:
        """Vectors of the generation, as they are stored."""
        return self._sealed_PD

    @property
    def sealed_index(self) -> Any:
        """The faiss index of the generation, in this machine's memory; None where it is flat."""
        return self._sealed_index

    @property
    def sealed_rows(self) -> Ints | None:
        """Rows of the vectors of the generation; None where these are 0 and up."""
        return None if self._rows_P is None else self._rows_P[: self.num_sealed]

    def sealed_mask(self, mask_N: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Give a mask of rows as one of the vectors of the generation."""
        rows_P = self._rows_P
        return mask_N[: self.num_sealed] if rows_P is None else mask_N[rows_P[: self.num_sealed]]

    @property
    def num_positions(self) -> int:
        """All vectors, also of rows that are deleted."""
        return len(self._sealed_PD) + self._fresh.num

    @property
    def num_grown(self) -> int:
        """Vectors added to lists since."""
        return 0 if self._grown is None else int(self._grown.ntotal)

    @property
    def num_compared(self) -> int:
        """Newest vectors, which every query is compared with."""
        return self._fresh.num - self.num_grown

    @property
    def selectors(self) -> bool:
        """Tell whether the index heeds selectors."""
        return self._placed.selectors

    @property
    def _is_on_device(self) -> bool:
        return self._placed.index is not self._sealed_index

    @property
    def size_bytes(self) -> int:
        """Memory that vectors and codes take, about."""
        codes = 0 if self._sealed_index is None else (self.num_sealed + self.num_grown) * (getattr(self._sealed_index, "code_size", 0) + 8)
        return self._sealed_PD.nbytes + self._fresh.size_bytes + int(codes)

    def append(self, rows_M: Ints, vectors_MD: Floats, num_rows: int) -> None:
        """Add the vectors of new rows.

        Args:
            num_rows: rows of the shard with these.
        """
        first = self.num_positions
        if self._rows_P is None and (len(rows_M) != num_rows - first or (len(rows_M) and rows_M[0] != first)):
            self._rows_P = np.arange(first, dtype=np.int64)
        if self._rows_P is not None:
            self._rows_P = np.concatenate([self._rows_P, rows_M])
        self._fresh.append(stored_form(vectors_MD, self.facts.metric))

    def rows(self, positions: Ints) -> Ints:
        """Give the rows of positions of any shape; -1 stays."""
        return positions if self._rows_P is None or not len(self._rows_P) else np.where(positions < 0, -1, self._rows_P[positions])

    def rows_listed(self, positions: list[int]) -> list[int]:
        """Give the rows of some positions."""
        return positions if self._rows_P is None else [int(self._rows_P[position]) for position in positions]

    def positions(self, rows: Ints) -> Ints:
        """Give the positions of rows, -1 for a row that has no vector of this name."""
        if self._rows_P is None:
            return np.where(rows < self.num_positions, rows, -1)
        if not len(self._rows_P):
            return np.full(len(rows), -1, dtype=np.int64)
        found = np.minimum(np.searchsorted(self._rows_P, rows), len(self._rows_P) - 1)
        return np.where(self._rows_P[found] == rows, found, -1)

    def position_bits(self, bits: NDArray[np.uint8] | None, num_rows: int) -> NDArray[np.uint8] | None:
        """Give a bitmap of rows as one of positions."""
        if bits is None or self._rows_P is None:
            return bits
        mask_N = np.unpackbits(bits, count=num_rows, bitorder="little").view(np.bool_)
        return np.packbits(mask_N[self._rows_P], bitorder="little")

    def gather(self, positions: Ints) -> Floats:
        """Give stored vectors of positions of any shape; those of position 0 for -1."""
        num_sealed = len(self._sealed_PD)
        if num_sealed and not self._fresh.num:
            if len(positions) == num_sealed and positions.ndim == 1 and np.array_equal(positions, np.arange(num_sealed)):
                return self._sealed_PD  # all of them: no copy of what may be half of the memory
            found: Floats = self._sealed_PD[np.maximum(positions, 0)]
            return found
        fresh = positions >= num_sealed
        gathered = np.empty((*positions.shape, self.facts.dimension), dtype=np.float32)
        if num_sealed:
            gathered[~fresh] = self._sealed_PD[np.maximum(positions[~fresh], 0)]
        elif not fresh.all():
            gathered[~fresh] = 0
        gathered[fresh] = self._fresh.vectors[positions[fresh] - num_sealed]
        return gathered

    def scores(self, vectors_QD: Floats, positions_QR: Ints) -> Floats:
        """Score candidates; -inf for position -1."""
        # The setting belongs to the calling thread.
        faiss.omp_set_num_threads(self._num_threads)
        metric, num_sealed = self.facts.metric, len(self._sealed_PD)
        vectors_QD, positions_QR = np.ascontiguousarray(vectors_QD), np.ascontiguousarray(positions_QR)
        if not self._fresh.num:
            return scores_at(vectors_QD, self._sealed_PD, positions_QR, metric)
        is_fresh_QR = positions_QR >= num_sealed
        fresh_QR = scores_at(vectors_QD, self._fresh.vectors, np.where(is_fresh_QR, positions_QR - num_sealed, -1), metric)
        if not num_sealed:
            return fresh_QR
        return np.where(is_fresh_QR, fresh_QR, scores_at(vectors_QD, self._sealed_PD, np.where(is_fresh_QR, -1, positions_QR), metric))

    def parts(self, vectors_QD: Floats, effort: Effort, bits: NDArray[np.uint8] | None) -> Iterator[Part]:
        """Give the candidates of each part that has any; `bits` are of positions."""
        if self.num_sealed:
            yield self._sealed_part(vectors_QD, effort, bits)
        if self.num_grown:
            yield self._grown_part(vectors_QD, effort, bits)
        if self.num_compared:
            yield self._compared_part(vectors_QD, effort, bits, slice(self.num_sealed + self.num_grown, self.num_positions))

    def lone(self, vector_D: Floats, k: int) -> Found | None:
        """Answer one query where all vectors are sealed in an index and none is deleted; None where it takes more."""
        if self._fresh.num:
            return None
        plan = self._lone_plans.get(k) or self._plan_lone(k)
        if plan is None:
            return None
        # The setting belongs to the calling thread.
        faiss.omp_set_num_threads(self._num_threads)
        buffers, parameters = plan
        buffers.search(self._placed.index, vector_D, parameters)
        guesses = buffers.guesses_R.tolist()
        if self.facts.metric == "euclid":
            guesses = [-one for one in guesses]
        scores = buffers.score(vector_D, self._sealed_PD, self.facts.metric, buffers.num)
        return best(scores, buffers.positions_R.tolist(), guesses, k, 0.0)

    def _plan_lone(self, k: int) -> tuple[Buffers, Any] | None:
        num = math.ceil(k * self.facts.index.rerank_factor) + SPARE_CANDIDATES
        if self._placed.index is None or self._is_on_device or num > min(FEW, self.num_sealed):
            return None
        plan = self._lone_plans[k] = Buffers(num), self._search_parameters(self._reach(num, 1.0), None)
        return plan

    def lone_among(self, vector_D: Floats, k: int, positions_A: Ints, compared: Compared | HalfRows) -> Found | None:
        """Answer one query among sealed vectors that are gathered; None where it takes more."""
        num = k + SPARE_CANDIDATES
        if self._fresh.num or len(positions_A) <= num or num > FEW:
            return None
        buffers = self._among.get(k)
        if buffers is None:
            buffers = self._among[k] = Buffers(num)
        faiss.omp_set_num_threads(self._num_threads)
        metric = self.facts.metric
        if isinstance(compared, HalfRows):
            buffers.search(compared.index, vector_D, None)
            margin = compared.margin
        else:
            buffers.compare(vector_D, compared.vectors_AD, metric)
            margin = float(MARGIN * np.abs(buffers.guesses_R).max())
        buffers.positions_R[:] = positions_A[buffers.positions_R]
        guesses = buffers.guesses_R.tolist()
        if metric == "euclid":
            guesses = [-one for one in guesses]
        scores = buffers.score(vector_D, self._sealed_PD, metric, num)
        return best(scores, buffers.positions_R.tolist(), guesses, k, margin)

    def _sealed_part(self, vectors_QD: Floats, effort: Effort, bits: NDArray[np.uint8] | None) -> Part:
        if self._placed.index is None:
            return self._compared_part(vectors_QD, effort, bits, slice(0, self.num_sealed))
        num = min(effort.num_candidates, self.num_sealed)
        reach = self._reach(num, effort.widening)
        is_sifted = bits is not None and not self._placed.selectors
        # Rows that may not be hits take the places of others.
        num_asked = min(math.ceil(num * effort.widening), self.num_sealed) if is_sifted else num
        index = self._placed.index
        if not self._placed.answers(num_asked, reach):
            if self._sealed_index is None:
                return self._compared_part(vectors_QD, effort, bits, slice(0, self.num_sealed))
            index, num_asked, is_sifted = self._sealed_index, num, False
        guesses_QR, positions_QR = self._search(index, vectors_QD, num_asked, reach, None if is_sifted else bits)
        if self._is_on_device:
            # cuVS gives the largest integer in the place of a missing candidate.
            is_missing_QR = positions_QR >= self.num_sealed
            positions_QR[is_missing_QR], guesses_QR[is_missing_QR] = -1, NO_GUESS
        is_flat = self.facts.index.kind == "flat"
        everywhere = is_flat or reach == self._whole_reach
        if bits is not None and is_sifted:
            positions_QR = np.where((positions_QR >= 0) & _bit(bits, positions_QR), positions_QR, -1)
        is_all = everywhere and num_asked == self.num_sealed
        return Part(positions_QR, guesses_QR, everywhere, is_all, MARGIN if is_flat else NO_MARGIN)

    def _grown_part(self, vectors_QD: Floats, effort: Effort, bits: NDArray[np.uint8] | None) -> Part:
        num = min(effort.num_candidates, self.num_grown)
        reach = self._reach(num, effort.widening)
        allowed = None if bits is None else _bits_from(bits, self.num_sealed, self.num_grown)
        guesses_QR, positions_QR = self._search(self._grown, vectors_QD, num, reach, allowed)
        positions_QR = np.where(positions_QR < 0, -1, positions_QR + self.num_sealed)
        everywhere = reach == self._whole_reach
        return Part(positions_QR, guesses_QR, everywhere, everywhere and num == self.num_grown, NO_MARGIN)

    def _compared_part(self, vectors_QD: Floats, effort: Effort, bits: NDArray[np.uint8] | None, span: slice) -> Part:
        """Compare with a span of positions that is all sealed or all fresh."""
        first, end = span.start, span.stop
        is_sealed = first < self.num_sealed
        vectors_MD = self._sealed_PD if is_sealed else self._fresh.vectors[first - self.num_sealed : end - self.num_sealed]
        guesses_QM = Compared.of(vectors_MD, self.facts.metric).guesses(vectors_QD)
        positions_M = np.arange(first, end)
        if bits is not None:
            guesses_QM[:, ~_bit(bits, positions_M)] = NO_GUESS
        return best_guesses(positions_M, guesses_QM, effort.num_candidates)

    def _search(self, index: Any, vectors_QD: Floats, num: int, reach: int | None, bits: NDArray[np.uint8] | None) -> tuple[Floats, Ints]:
        # The setting belongs to the calling thread.
        faiss.omp_set_num_threads(self._num_threads)
        guesses_QR, positions_QR = index.search(vectors_QD, num, params=self._search_parameters(reach, bits))
        if self.facts.metric == "euclid":
            np.negative(guesses_QR, out=guesses_QR)
        return guesses_QR, positions_QR

    def _search_parameters(self, reach: int | None, bits: NDArray[np.uint8] | None) -> Any:
        if bits is not None:
            return _parameters(self.facts.index.kind, reach, {"sel": faiss.IDSelectorBitmap(bits)})
        key = reach or 0
        if key not in self._parameters:
            self._parameters[key] = _parameters(self.facts.index.kind, reach, {})
        return self._parameters[key]

    @property
    def _whole_reach(self) -> int | None:
        return self.facts.index.nlist or (self.num_sealed if self.facts.index.kind == "hnsw" else None)

    def _reach(self, num_candidates: int, widening: float) -> int | None:
        """Give lists to visit, or candidates that a graph's search keeps."""
        facts = self.facts.index
        if facts.effort is None:
            return None
        if facts.nlist is None:
            return int(min(max(facts.effort * widening, num_candidates), max(self.num_sealed, 1)))
        lists_that_hold_enough = ROWS_PER_LIST_HIT * num_candidates * facts.nlist / max(1, self.num_sealed + self.num_grown)
        return min(int(np.ceil(max(facts.effort, lists_that_hold_enough) * widening)), facts.nlist)

    def to_grow(self) -> Growth | None:
        """Find lists for some of the rows that are compared one by one, None if these are few.

        Nearly all of the work, and it changes nothing: searches in other threads may go on, changes may not.
        """
        if self.facts.index.nlist is None or self.num_compared < GROW_ROWS + GROW_AT_ONCE:
            return None
        # The setting belongs to the calling thread.
        faiss.omp_set_num_threads(self._num_threads)
        start = self.num_grown
        vectors_MD = self._fresh.vectors[start : start + GROW_AT_ONCE]
        _, lists_M1 = faiss.extract_index_ivf(self._sealed_index).quantizer.search(vectors_MD, 1)
        return Growth(vectors_MD, np.ascontiguousarray(lists_M1[:, 0]))

    def grow(self, growth: Growth) -> None:
        """Put rows into the lists found for them just before."""
        if self._grown is None:
            self._grown = _empty_lists(self._sealed_index, self.facts)
        vectors_MD, lists_M = growth.vectors_MD, growth.lists_M
        self._grown.add_core(len(lists_M), faiss.swig_ptr(vectors_MD), None, faiss.swig_ptr(lists_M))


class _FreshVectors:
    """Vectors in one array that grows at its end."""

    def __init__(self, dimension: int) -> None:
        self._room_ND = np.empty((0, dimension), dtype=np.float32)
        self.num = 0

    @property
    def vectors(self) -> Floats:
        return self._room_ND[: self.num]

    @property
    def size_bytes(self) -> int:
        return self._room_ND.nbytes

    def append(self, vectors_MD: Floats) -> None:
        end = self.num + len(vectors_MD)
        if end > len(self._room_ND):
            room_ND = np.empty((max(end, 1024, self.num + self.num // 2), self._room_ND.shape[1]), dtype=np.float32)
            room_ND[: self.num] = self.vectors
            self._room_ND = room_ND
        self._room_ND[self.num : end] = vectors_MD
        self.num = end


def best_guesses(positions_A: Ints, guesses_QA: Floats, num: int) -> Part:
    """Keep the best guesses of rows that were all compared; a guess of -inf marks a row that may not be a hit."""
    num_queries, width = guesses_QA.shape
    if width <= num:
        order_QR = np.argsort(-guesses_QA, axis=1)
        guesses_QR = np.take_along_axis(guesses_QA, order_QR, axis=1)
        positions_QR = positions_A[order_QR]
    else:
        guesses_QR = np.empty((num_queries, num), dtype=np.float32)
        positions_QR = np.empty((num_queries, num), dtype=np.int64)
        for query, guesses_A in enumerate(guesses_QA):
            chosen = at_least(guesses_A, num)
            chosen = chosen[np.argsort(-guesses_A[chosen], kind="stable")[:num]]
            guesses_QR[query], positions_QR[query] = guesses_A[chosen], positions_A[chosen]
    if guesses_QR[:, -1].min(initial=0) == NO_GUESS:
        positions_QR[guesses_QR == NO_GUESS] = -1
    return Part(positions_QR, guesses_QR, True, width <= num, MARGIN)


def _placed(sealed: SealedVectors, device: int | None) -> Placed:
    if sealed.index is not None or device is None:
        return place(sealed.index, device)
    flat = faiss.IndexFlat(sealed.facts.dimension, faiss_metric(sealed.facts.metric))
    flat.add(sealed.vectors_PD)
    return place(flat, device)


def _parameters(kind: str, reach: int | None, options: dict[str, Any]) -> Any:
    if reach is None:
        return faiss.SearchParameters(**options)
    return faiss.SearchParametersHNSW(efSearch=reach, **options) if kind == "hnsw" else faiss.SearchParametersIVF(nprobe=reach, **options)


def _empty_lists(sealed: Any, facts: VectorFacts) -> Any:
    """Make an index of 8-bit codes, or of whole vectors, over the centroids of a sealed one."""
    metric = faiss_metric(facts.metric)
    ivf = faiss.extract_index_ivf(sealed)
    if facts.index.kind == "ivf_sq8":
        grown = faiss.IndexIVFScalarQuantizer(ivf.quantizer, facts.dimension, ivf.nlist, faiss.ScalarQuantizer.QT_8bit, metric)
        grown.sq, grown.by_residual = faiss.downcast_index(ivf).sq, faiss.downcast_index(ivf).by_residual
    else:
        grown = faiss.IndexIVFFlat(ivf.quantizer, facts.dimension, ivf.nlist, metric)
    grown.own_fields, grown.is_trained = False, True
    return grown


def _bit(bits: NDArray[np.uint8], positions: Ints) -> NDArray[np.bool_]:
    """Read single bits; any for position -1."""
    found: NDArray[np.bool_] = (bits[positions >> 3] >> (positions & 7).astype(np.uint8) & 1).astype(np.bool_)
    return found


def _bits_from(bits: NDArray[np.uint8], start: int, num: int) -> NDArray[np.uint8]:
    first = start // 8
    if start % 8 == 0:
        return np.ascontiguousarray(bits[first : first + (num + 7) // 8])
    mask = np.unpackbits(bits[first : (start + num + 7) // 8], bitorder="little")[start % 8 : start % 8 + num]
    return np.packbits(mask, bitorder="little")
