"""Builds a shard's index from its rows, and proves its recall.

Equal rows give equal bytes: one OpenMP thread, fixed seeds. Legend: N rows, D dimension, Q queries, K hits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from reelspace.core.errors import TableError, UserError
from reelspace.core.rng import rng
from reelspace.core.settings import Settings
from reelspace.search.compute.generation import MANIFEST, write_files
from reelspace.search.compute.library import faiss
from reelspace.search.compute.shard import Shard, ShardParts
from reelspace.search.storage.layout import Collection, IndexFacts, ShardManifest, json_bytes, shard_of_ids

RECALL_AT: Final = 10
ROWS_PER_LIST: Final = 39
LISTS_PER_ROOT: Final = 4


class IndexSettings(Settings):
    """How shards are indexed."""

    flat_below: int = Field(20_000, ge=1, description="Shards with fewer rows compare with every row.")
    recall_target: float = Field(0.98, gt=0, le=1, description="Share of the 10 nearest that an approximate index must find.")
    num_recall_queries: int = Field(256, ge=16, le=10_000, description="Rows sampled per shard to choose and prove nprobe.")
    rerank_factor: float = Field(2.0, ge=1, le=100, description="Candidates per hit that are scored again with the stored vectors.")
    seed: int = Field(0, ge=0, description="Seed of the sample.")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows to index: ids, vectors and payload in the same order."""

    ids_N: NDArray[np.int64]
    vectors_ND: NDArray[np.float32]
    payload: pa.Table

    def take(self, rows: NDArray[np.int64]) -> "Table":
        """Give some of the rows, in the order asked for."""
        return Table(self.ids_N[rows], self.vectors_ND[rows], self.payload.take(pa.array(rows)))


def checked_table(table: Table) -> Table:
    """Order rows by id and scale vectors to length 1.

    Raises:
        TableError: an id is negative or given twice, or a vector is not finite or all zeros; names the id.
    """
    order_N = np.argsort(table.ids_N, kind="stable")
    table = table.take(order_N)
    if len(table.ids_N) and table.ids_N[0] < 0:
        raise TableError(f"vectors: expected ids of at least 0, got {table.ids_N[0]}")
    twice = np.flatnonzero(np.diff(table.ids_N) == 0)
    if len(twice):
        raise TableError(f"vectors: expected each id once, {table.ids_N[twice[0]]} is given twice")
    norms_N = np.linalg.norm(table.vectors_ND.astype(np.float64), axis=1)
    bad = np.flatnonzero(~np.isfinite(norms_N) | (norms_N == 0))
    if len(bad):
        raise TableError(f"vectors: expected finite vectors that are not all zeros, the vector of id {table.ids_N[bad[0]]} is none")
    return replace(table, vectors_ND=(table.vectors_ND / norms_N[:, None]).astype(np.float32))


def write_index(table: Table, collection: Collection, settings: IndexSettings, directory: Path) -> list[ShardManifest]:
    """Write a collection's first generation: collection.json and shards/<s>/..., each shard with its manifest."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "collection.json").write_bytes(json_bytes(collection))
    return list(_write_shards(checked_table(table), collection, settings, directory))


def _write_shards(table: Table, collection: Collection, settings: IndexSettings, directory: Path) -> Iterator[ShardManifest]:
    shard_N = shard_of_ids(table.ids_N, collection.num_shards)
    for shard in range(collection.num_shards):
        parts = build_parts(table.take(np.flatnonzero(shard_N == shard)), settings)
        place = directory / "shards" / str(shard)
        manifest = ShardManifest(
            shard=shard,
            num_shards=collection.num_shards,
            num_rows=len(parts.ids_N),
            dimension=collection.dimension,
            space_id=collection.space_id,
            index=parts.facts,
            files=write_files(parts, place),
        )
        (place / MANIFEST).write_bytes(json_bytes(manifest))
        yield manifest


def build_parts(table: Table, settings: IndexSettings) -> ShardParts:
    """Index the rows of one shard: flat when they are few, else lists of 8-bit codes with the nprobe that reaches the target.

    Raises:
        UserError: the target is out of reach even with every list.
    """
    # One thread: sums in another order would give other bytes.
    faiss.omp_set_num_threads(1)
    num_rows, dimension = table.vectors_ND.shape
    if num_rows < settings.flat_below:
        index = faiss.IndexFlatIP(dimension)
        index.add(table.vectors_ND)
        facts = _facts("flat", settings, None, None, 1.0, 0)
        return ShardParts(facts, index, table.ids_N, table.vectors_ND, table.payload)
    nlist = max(1, min(round(LISTS_PER_ROOT * np.sqrt(num_rows)), num_rows // ROWS_PER_LIST))
    index = faiss.index_factory(dimension, f"IVF{nlist},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.train(table.vectors_ND)
    index.add(table.vectors_ND)
    return _tuned(table, index, nlist, settings)


def _tuned(table: Table, index: Any, nlist: int, settings: IndexSettings) -> ShardParts:
    num_queries = min(settings.num_recall_queries, len(table.ids_N))
    rows_Q = np.sort(rng(settings.seed, "recall").choice(len(table.ids_N), num_queries, replace=False))
    vectors_QD, own = table.vectors_ND[rows_Q], list(table.ids_N[rows_Q][:, None])
    untuned = ShardParts(_facts("ivf_sq8", settings, nlist, 1, 0.0, num_queries), index, table.ids_N, table.vectors_ND, table.payload)
    exact_QK = Shard(untuned).search_exactly(vectors_QD, RECALL_AT, excluded=own).rows_QK
    recall = 0.0
    for nprobe in _efforts(nlist):
        parts = replace(untuned, facts=untuned.facts.model_copy(update={"nprobe": nprobe}))
        recall = recall_of(Shard(parts).search(vectors_QD, RECALL_AT, excluded=own).rows_QK, exact_QK)
        if recall >= settings.recall_target:
            return replace(parts, facts=parts.facts.model_copy(update={"recall_at_10": recall}))
    target = settings.recall_target
    raise UserError(f"recall_target {target} is out of reach: all {nlist} lists give {recall:.4f}; raise rerank_factor or flat_below")


def recall_of(found_QK: NDArray[np.int64], exact_QK: NDArray[np.int64]) -> float:
    """Give the share of the exact hits that were found, over all queries."""
    found = [np.isin(exact_K, found_K).sum() for found_K, exact_K in zip(found_QK, exact_QK, strict=True)]
    return float(np.sum(found) / exact_QK.size)


def _efforts(nlist: int) -> Iterator[int]:
    """Give numbers of lists to try: 1, 2, 3, 4, 6, 8, 12... and at last all of them."""
    power = 1
    while power < nlist:
        yield power
        if power > 1 and 3 * power // 2 < nlist:
            yield 3 * power // 2
        power *= 2
    yield nlist


def _facts(kind: str, settings: IndexSettings, nlist: int | None, nprobe: int | None, recall: float, num_queries: int) -> IndexFacts:
    return IndexFacts.model_validate(
        {
            "kind": kind,
            "nlist": nlist,
            "nprobe": nprobe,
            "rerank_factor": settings.rerank_factor,
            "recall_at_10": recall,
            "recall_target": settings.recall_target,
            "num_recall_queries": num_queries,
        }
    )
