"""Bare faiss over the index that our server searches: a generation's own file, lists to visit and vectors to score candidates with.

What a server takes beyond this is what asking over a network costs. Searches take one thread, as the server's do.

Legend: N rows, Q queries, D dimension, R candidates, K hits.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np

from benchmarks.search_peers.system import Direct, Floats, Ints, Knob, Rows, Searcher, Where
from reelspace.search.compute.scoring import scores_at
from reelspace.search.compute.vector_index import SPARE_CANDIDATES
from reelspace.search.storage.layout import ShardManifest, parse

MANIFEST: Final = "collections/*/shards/0/generations/*/manifest.json"


class SealedFaiss:
    """The only generation of the only shard of the only collection in a directory; ids are row numbers."""

    def __init__(self, directory: str) -> None:
        (path,) = Path(directory).glob(MANIFEST)
        (vectors,) = parse(ShardManifest, path.read_bytes(), str(path)).vectors.values()
        self._index: Any = faiss.read_index(str(path.parent / "index-0.faiss"))
        self._vectors_ND: Floats = np.load(path.parent / "vectors-0.npy")
        self._rerank_factor = vectors.index.rerank_factor
        self._params = faiss.SearchParametersIVF(nprobe=vectors.index.effort)  # type: ignore[call-arg]
        faiss.omp_set_num_threads(1)

    def ladders(self, key: str) -> Sequence[Sequence[Knob]]:
        """Give none to turn: the generation has its effort."""
        return [[{}]]

    def build(self, rows: Rows) -> None:
        """Refuse: it searches what is there."""
        raise NotImplementedError("the index of a generation is searched as it is")

    def set_knob(self, knob: Knob) -> None:
        """Do nothing."""

    def searcher(self) -> Searcher:
        """Give the library."""
        return Direct(self._search)

    def shared(self) -> None:
        """Give none: it is called directly."""

    def batches(self) -> "BatchCall":
        """Give the library for many queries at a time."""
        return BatchCall(self)

    def scored(self, query_D: Floats, k: int) -> tuple[list[int], list[float]]:
        """Search, and give the scores too."""
        nearest_QK, scores_QK = self.nearest(query_D[None], k)
        return nearest_QK[0].tolist(), scores_QK[0].tolist()

    def insert(self, rows: Rows, *, wait: bool) -> None:
        """Refuse: nothing here measures writes to it."""
        raise NotImplementedError("the index of a generation is searched as it is")

    def reopen(self) -> None:
        """Do nothing: it remembers no condition."""

    def close(self) -> None:
        """Forget the index."""
        self._index = None

    def nearest(self, queries_QD: Floats, k: int) -> tuple[Ints, Floats]:
        """Find candidates by their codes, a few more than hits, and order them by their vectors, as the engine does."""
        num = ceil(k * self._rerank_factor) + SPARE_CANDIDATES
        _, rows_QR = self._index.search(queries_QD, num, params=self._params)
        scores_QR = scores_at(queries_QD, self._vectors_ND, rows_QR, "cosine")
        best_QK = np.argsort(-scores_QR, axis=1)[:, :k]
        return np.take_along_axis(rows_QR, best_QK, axis=1), np.take_along_axis(scores_QR, best_QK, axis=1)

    def _search(self, query_D: Floats, k: int, where: Where | None) -> list[int]:
        assert where is None, "rows of .npy files have no payload"
        found: list[int] = self.nearest(query_D[None], k)[0][0].tolist()
        return found


class BatchCall:
    """The call for many queries at a time."""

    def __init__(self, system: SealedFaiss) -> None:
        self._system = system

    def prepare(self, queries_QD: Floats, k: int) -> tuple[Floats, int]:
        """Give the arguments."""
        return queries_QD, k

    def search(self, request: tuple[Floats, int]) -> list[int]:
        """Call, and give the ids of the last query."""
        found_QK: list[list[int]] = self._system.nearest(*request)[0].tolist()
        return found_QK[-1]

    def close(self) -> None:
        """Do nothing."""


def connect(place: Mapping[str, str]) -> SealedFaiss:
    """Give the library over the directory."""
    return SealedFaiss(place["directory"])
