"""Bare faiss, the limit of an engine built on it: IVF with 8-bit codes, and exact search over gathered rows under a condition."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np

from benchmarks.search_peers.system import Direct, Floats, Ints, Knob, Rows, Searcher, Where

NUM_LISTS: Final = 1024
ROWS_PER_LIST: Final = 40
PROBES: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


class FaissIvf:
    """An index in memory; ids are row numbers."""

    def __init__(self, directory: str) -> None:
        self._path = Path(directory) / "index.faiss"
        self._index: Any = None
        self._params: Any = None
        self._rows: Rows | None = None
        self._gathered: dict[Where, tuple[Any, Ints]] = {}

    def ladders(self, key: str) -> Sequence[Sequence[Knob]]:
        """Give numbers of lists to probe; search under a condition is exact and has none."""
        return [[{"exact": 1}] if key else [{"nprobe": nprobe} for nprobe in PROBES]]

    def build(self, rows: Rows) -> None:
        """Train, add and write."""
        num_lists = min(NUM_LISTS, len(rows.ids_N) // ROWS_PER_LIST)
        self._index = faiss.index_factory(rows.vectors_ND.shape[1], f"IVF{num_lists},SQ8", faiss.METRIC_INNER_PRODUCT)
        self._index.train(rows.vectors_ND)
        self._index.add(rows.vectors_ND)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        faiss.write_index(self._index, str(self._path))
        self._rows = rows
        # A second thread per query gains nothing and spins when the cores are taken: up to 30 times slower.
        faiss.omp_set_num_threads(1)

    def set_knob(self, knob: Knob) -> None:
        """Set the number of lists to probe."""
        if "nprobe" in knob:
            self._params = faiss.SearchParametersIVF(nprobe=int(knob["nprobe"]))  # type: ignore[call-arg]

    def searcher(self) -> Searcher:
        """Give the library."""
        return Direct(self._search)

    def shared(self) -> None:
        """Give none: it is called directly."""

    def insert(self, rows: Rows, *, wait: bool) -> None:
        """Refuse: nothing here measures writes to it."""
        raise NotImplementedError("bare faiss is measured without writes")

    def reopen(self) -> None:
        """Forget the gathered rows."""
        self._gathered = {}

    def close(self) -> None:
        """Forget the index."""
        self._index = None

    def _search(self, query_D: Floats, k: int, where: Where | None) -> list[int]:
        if where is None:
            _, ids_QK = self._index.search(query_D[None], k, params=self._params)
            found: list[int] = ids_QK[0].tolist()
            return found
        flat, allowed = self._gathered.get(where) or self._gather(where)
        _, places_QK = flat.search(query_D[None], k)
        gathered: list[int] = allowed[places_QK[0]].tolist()
        return gathered

    def _gather(self, where: Where) -> tuple[Any, Ints]:
        assert self._rows is not None
        allowed = np.flatnonzero(self._rows.payload[where.key] == where.value)
        flat = faiss.IndexFlatIP(self._index.d)
        flat.add(self._rows.vectors_ND[allowed])
        self._gathered[where] = flat, allowed
        return flat, allowed


def connect(place: Mapping[str, str]) -> FaissIvf:
    """Give the library with its directory."""
    return FaissIvf(place["directory"])
