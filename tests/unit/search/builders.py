"""Small tables, shards and generations."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reelspace.core.artifacts import Artifact, write_artifact
from reelspace.core.store import Store
from reelspace.search.compute.build import IndexSettings, Table, build_parts, checked_table, rows_of_table, write_index
from reelspace.search.compute.filters import Filter, NumberRange, encode_filter
from reelspace.search.compute.shard import Shard
from reelspace.search.storage.ids import ids_of_words
from reelspace.search.storage.layout import Collection, VectorSettings

SPACE = "00112233aabbccdd"


def make_table(num_rows: int, dimension: int = 16, *, seed: int = 0, num_twins: int = 0, clusters: int = 0) -> Table:
    """Draw rows; the last `num_twins` vectors are copies of the first ones, and rows scatter around clusters if there are any."""
    draw = np.random.default_rng(seed)
    vectors_ND = draw.standard_normal((num_rows, dimension))
    if clusters:
        vectors_ND = 0.5 * vectors_ND + draw.standard_normal((clusters, dimension))[draw.integers(0, clusters, num_rows)]
    if num_twins:
        vectors_ND[-num_twins:] = vectors_ND[:num_twins]
    ids_N = draw.permutation(num_rows).astype(np.int64) * 3 + 5
    return Table(ids_N, unit(vectors_ND), pa.table({"number": ids_N}))


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def make_queries(num: int, dimension: int = 16, seed: int = 99) -> NDArray[np.float32]:
    return unit(np.random.default_rng(seed).standard_normal((num, dimension)))


def make_shard(table: Table, settings: IndexSettings | None = None, device: int | None = None) -> Shard:
    rows = rows_of_table(checked_table(table), VectorSettings(dimension=table.vectors_ND.shape[1]))
    return Shard(build_parts(rows, settings or IndexSettings()), device)


def ids_of(shard: Shard, rows_QK: NDArray[np.int64]) -> list[list[int]]:
    """Give the ids of hits, without the missing ones."""
    return [[int(id) for id in ids_of_words(shard.ids.words(rows_K[rows_K >= 0]))] for rows_K in rows_QK]  # type: ignore[arg-type]


def exact_ids(table: Table, queries_QD: NDArray[np.float32], k: int, forbidden: set[int] | None = None) -> list[list[int]]:
    """Rank by inner product in double precision, ties by id: the independent answer."""
    allowed = [row for row, one in enumerate(table.ids_N) if int(one) not in (forbidden or set())]
    ids, vectors = table.ids_N[allowed], table.vectors_ND[allowed].astype(np.float64)
    answers = []
    for query_D in queries_QD.astype(np.float64):
        scores = (vectors @ query_D).round(12)
        answers.append([int(ids[row]) for row in np.lexsort((ids, -scores))[:k]])
    return answers


def recalls(table: Table, shards: Sequence[Shard], queries_QD: NDArray[np.float32], share: float, k: int) -> list[float]:
    """Give the share of the exact best that each shard finds where the rows of the highest numbers are allowed; it gives no others."""
    least = float(np.quantile(table.ids_N, 1 - share))
    where = b"" if share == 1.0 else encode_filter(Filter(must=(NumberRange("number", gte=least),)))
    forbidden = {int(id) for id in table.ids_N if where and id < least}
    best, found = exact_ids(table, queries_QD, k, forbidden), []
    for shard in shards:
        answered = ids_of(shard, shard.search(queries_QD, k, where=where).rows_QK)
        assert [len(ids) for ids in answered] == [len(ids) for ids in best]
        assert not any(forbidden.intersection(ids) for ids in answered)
        found.append(float(np.mean([len(set(ids) & set(exact)) / len(exact) for ids, exact in zip(answered, best, strict=True)])))
    return found


def make_collection(dimension: int = 16, num_shards: int = 2, name: str = "videos") -> Collection:
    return Collection(name=name, space_id=SPACE, vectors={"": VectorSettings(dimension=dimension)}, num_shards=num_shards)


def make_index(
    store: Store, directory: Path, table: Table, collection: Collection | None = None, parents: tuple[str, ...] = ()
) -> Artifact:
    """Write an index artifact."""
    write_index(table, collection or make_collection(table.vectors_ND.shape[1]), IndexSettings(), directory)
    return write_artifact(store, "index", directory, parents=parents, code="", settings={})
