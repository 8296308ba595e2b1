"""hnswlib: an HNSW graph in memory, without payload or log: a condition is a Python callback, a save the only durability."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import hnswlib  # type: ignore[import-untyped]

from benchmarks.search_peers.system import LADDER, Direct, Floats, Ints, Knob, Rows, Searcher, Where

M: Final = 16
EF_CONSTRUCTION: Final = 100


class Hnswlib:
    """An index with its payload columns; ids are row numbers."""

    def __init__(self, directory: str) -> None:
        self._path = Path(directory) / "index.bin"
        self._index: Any = None
        self._payload: Mapping[str, Ints] = {}

    def ladders(self, key: str) -> Sequence[Sequence[Knob]]:
        """Give efforts of the graph search."""
        return [[{"ef": ef} for ef in LADDER]]

    def build(self, rows: Rows) -> None:
        """Build with all cores and save."""
        self._index = hnswlib.Index("ip", rows.vectors_ND.shape[1])
        self._index.init_index(len(rows.ids_N), ef_construction=EF_CONSTRUCTION, M=M)
        self._index.add_items(rows.vectors_ND, rows.ids_N)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._index.save_index(str(self._path))
        self._payload = rows.payload

    def set_knob(self, knob: Knob) -> None:
        """Set the effort."""
        self._index.set_ef(int(knob["ef"]))

    def searcher(self) -> Searcher:
        """Give the library."""
        return Direct(self._search)

    def shared(self) -> None:
        """Give none: it is called directly."""

    def insert(self, rows: Rows, *, wait: bool) -> None:
        """Refuse: nothing here measures writes to it."""
        raise NotImplementedError("hnswlib is measured without writes")

    def reopen(self) -> None:
        """Do nothing: it remembers no condition."""

    def close(self) -> None:
        """Forget the index."""
        self._index = None

    def _search(self, query_D: Floats, k: int, where: Where | None) -> list[int]:
        allowed = None
        if where:
            values_N, value = self._payload[where.key], where.value

            def allowed(row: int) -> bool:
                return bool(values_N[row] == value)

        ids_QK, _ = self._index.knn_query(query_D, k, num_threads=1, filter=allowed)
        found: list[int] = ids_QK[0].tolist()
        return found


def connect(place: Mapping[str, str]) -> Hnswlib:
    """Give the library with its directory."""
    return Hnswlib(place["directory"])
