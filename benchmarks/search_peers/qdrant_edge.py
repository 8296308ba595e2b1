"""qdrant-edge-py: Qdrant's engine as a library, with an HNSW graph and payload indexes in a directory."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import qdrant_edge as edge  # type: ignore[import-not-found]

from benchmarks.search_peers.system import FILTERS, LADDER, Direct, Floats, Knob, Rows, Searcher, Where

BATCH_ROWS: Final = 1000
M, EF_CONSTRUCT = 16, 100
# Of 200,000 rows a scan of 1 % (1 MB) is faster than the graph at equal recall, and the graph is 3 times faster than a scan of 5 %.
FULL_SCAN_KIB: Final = 2000


class QdrantEdge:
    """A shard; unit vectors under the inner product, which spares it the scaling of every query."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._shard: Any = None
        self._params = edge.SearchParams()

    def ladders(self, key: str) -> Sequence[Sequence[Knob]]:
        """Give efforts of the graph search; under a condition also with ACORN, which walks through rows that fail it."""
        plain: list[Knob] = [{"hnsw_ef": ef} for ef in LADDER]
        return [plain, [{**knob, "acorn": 1} for knob in plain]] if key else [plain]

    def build(self, rows: Rows) -> None:
        """Upsert, index the payload, build the graph and flush."""
        graph = edge.HnswIndexConfig(m=M, ef_construct=EF_CONSTRUCT, full_scan_threshold=FULL_SCAN_KIB)
        vectors = edge.EdgeVectorParams(size=rows.vectors_ND.shape[1], distance=edge.Distance.Dot)
        self._shard = edge.EdgeShard.create(self._directory, edge.EdgeConfig(vectors=vectors, hnsw_config=graph))
        for key in FILTERS:
            self._shard.update(edge.UpdateOperation.create_field_index(key, edge.PayloadSchemaType.Integer))
        for batch in rows.batches(BATCH_ROWS):
            self.insert(batch, wait=True)
        self._shard.optimize()
        self._shard.flush()

    def set_knob(self, knob: Knob) -> None:
        """Set the effort."""
        acorn = edge.AcornSearchParams(enable=True) if "acorn" in knob else None
        self._params = edge.SearchParams(hnsw_ef=int(knob["hnsw_ef"]), acorn=acorn)

    def searcher(self) -> Searcher:
        """Give the library."""
        return Direct(self._search)

    def shared(self) -> None:
        """Give none: it is called directly."""

    def insert(self, rows: Rows, *, wait: bool) -> None:
        """Upsert."""
        vectors, payloads = rows.vectors_ND.tolist(), _payloads(rows.payload)
        points = [edge.Point(*point) for point in zip(rows.ids_N.tolist(), vectors, payloads, strict=True)]
        self._shard.update(edge.UpdateOperation.upsert_points(points))

    def reopen(self) -> None:
        """Close and load."""
        self._shard.close()
        self._shard = edge.EdgeShard.load(self._directory)

    def close(self) -> None:
        """Close."""
        if self._shard is not None:
            self._shard.close()

    def _search(self, query_D: Floats, k: int, where: Where | None) -> list[int]:
        condition = _condition(where) if where else None
        request = edge.SearchRequest(edge.Query.Nearest(query_D.tolist()), limit=k, filter=condition, params=self._params)
        return [point.id for point in self._shard.search(request)]


@cache
def _condition(where: Where) -> Any:
    return edge.Filter(must=[edge.FieldCondition(where.key, match=edge.MatchValue(where.value))])


def _payloads(payload: Mapping[str, Any]) -> Iterable[dict[str, int]]:
    columns = [values_N.tolist() for values_N in payload.values()]
    return (dict(zip(payload, values, strict=True)) for values in zip(*columns, strict=True))


def connect(place: Mapping[str, str]) -> QdrantEdge:
    """Give the library in its directory."""
    return QdrantEdge(place["directory"])
