"""Builds a shard's indexes from its rows, and proves their recall.

Equal rows give equal bytes with one thread: fixed seeds, sums in one order. Legend: N rows, P vectors, D dimension, Q queries, K hits.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from reelspace.core.errors import TableError, UserError
from reelspace.core.rng import rng
from reelspace.core.settings import Settings
from reelspace.search.compute.generation import MANIFEST, write_files
from reelspace.search.compute.library import faiss
from reelspace.search.compute.lists import num_lists
from reelspace.search.compute.payloads import Payloads, payload_rows
from reelspace.search.compute.row_ids import SealedIds
from reelspace.search.compute.scoring import Floats, Ints, faiss_metric, stored_form
from reelspace.search.compute.shard import Shard, ShardParts
from reelspace.search.compute.tuning import MAX_KEPT_CANDIDATES, RECALL_AT, Target, TargetOutOfReach, alone, tuned
from reelspace.search.compute.vector_index import SealedVectors
from reelspace.search.storage.layout import (
    Collection,
    IndexFacts,
    IndexKind,
    Metric,
    ShardManifest,
    TriedIndex,
    VectorFacts,
    VectorSettings,
    json_bytes,
    shard_of_ids,
)

POINTS_PER_CENTROID: Final = 64
MAX_CODE_ROWS: Final = 65_536
"""So many rows tell the range of every number, or the words of a code."""
KINDS: Final[tuple[IndexKind, ...]] = ("ivf_sq8", "ivf_pq", "ivf_pqfs", "hnsw")
SAMPLED_ROWS: Final = 50_000
NUM_TIMINGS: Final = 3


class IndexSettings(Settings):
    """How shards are indexed."""

    kind: IndexKind | Literal["auto"] = Field("ivf_sq8", description="Index of shards with many rows; auto measures and chooses.")
    flat_below: int = Field(20_000, ge=1, description="Shards with fewer rows compare with every row.")
    recall_target: float = Field(0.98, gt=0, le=1, description="Share of the 10 nearest that an approximate index must find.")
    num_recall_queries: int = Field(256, ge=16, le=10_000, description="Rows sampled per shard to choose and prove the effort.")
    max_code_bytes: int | None = Field(None, ge=1, description="auto: bytes per vector that codes and graph may take.")
    rerank_factor: float = Field(1.0, ge=1, le=100, description="Candidates per hit that are scored again with the stored vectors.")
    seed: int = Field(0, ge=0, description="Seed of the sample.")
    num_threads: int = Field(1, ge=1, le=256, description="Threads of a build; with one, equal rows give equal bytes.")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows to index: integer ids, vectors of one name and payload in the same order."""

    ids_N: NDArray[np.int64]
    vectors_ND: NDArray[np.float32]
    payload: pa.Table

    def take(self, rows: NDArray[np.int64]) -> "Table":
        """Give some of the rows, in the order asked for."""
        return Table(self.ids_N[rows], self.vectors_ND[rows], self.payload.take(pa.array(rows)))


@dataclass(frozen=True, slots=True, eq=False)
class BuildVectors:
    """Vectors of one name as they are stored (scoring.stored_form), in the order of their rows; `rows_P` is None if all have one."""

    settings: VectorSettings
    vectors_PD: Floats
    rows_P: Ints | None = None


@dataclass(frozen=True, slots=True, eq=False)
class BuildRows:
    """The rows of one shard in the order of their ids, checked; `contains_log` is the log number up to which they are."""

    ids: SealedIds
    vectors: Mapping[str, BuildVectors]
    payloads: Payloads
    contains_log: int = 0


def checked_table(table: Table) -> Table:
    """Order rows by id.

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
    wide_ND = table.vectors_ND.astype(np.float64)
    squares_N = np.einsum("nd,nd->n", wide_ND, wide_ND)
    bad = np.flatnonzero(~np.isfinite(squares_N) | (squares_N == 0))
    if len(bad):
        raise TableError(f"vectors: expected finite vectors that are not all zeros, the vector of id {table.ids_N[bad[0]]} is none")
    return table


def write_index(table: Table, collection: Collection, settings: IndexSettings, directory: Path) -> list[ShardManifest]:
    """Write the first generation of a collection with one vector name: collection.json and shards/<s>/..., each with its manifest."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "collection.json").write_bytes(json_bytes(collection))
    (name,) = collection.vectors
    table = checked_table(table)
    shard_N = shard_of_ids(table.ids_N, collection.num_shards)
    manifests = []
    for shard in range(collection.num_shards):
        rows = rows_of_table(table.take(np.flatnonzero(shard_N == shard)), collection.vectors[name], name)
        manifests.append(write_generation(rows, collection, shard, settings, directory / "shards" / str(shard)))
    return manifests


def rows_of_table(table: Table, vectors: VectorSettings, name: str = "") -> BuildRows:
    """Take a checked table as the rows of one shard."""
    payloads = Payloads()
    payloads.append(payload_rows(table.payload))
    ids = SealedIds(table.ids_N.astype(np.uint64), np.empty((0, 16), dtype=np.uint8))
    return BuildRows(ids, {name: BuildVectors(vectors, stored_form(table.vectors_ND, vectors.metric))}, payloads)


def write_generation(rows: BuildRows, collection: Collection, shard: int, settings: IndexSettings, directory: Path) -> ShardManifest:
    """Index the rows of one shard and write its files, the manifest last."""
    parts = build_parts(rows, settings)
    manifest = ShardManifest(
        shard=shard,
        num_shards=collection.num_shards,
        num_rows=len(rows.ids),
        contains_log=rows.contains_log,
        space_id=collection.space_id,
        vectors={name: sealed.facts for name, sealed in parts.vectors.items()},
        files=write_files(parts, directory),
    )
    (directory / MANIFEST).write_bytes(json_bytes(manifest))
    return manifest


def build_parts(rows: BuildRows, settings: IndexSettings) -> ShardParts:
    """Index the rows of one shard: flat where they are few, else with the effort that reaches the target.

    Raises:
        UserError: the target is out of reach even when everything is looked at.
    """
    sealed = {name: _sealed(vectors, settings) for name, vectors in rows.vectors.items()}
    return ShardParts(sealed, rows.ids, rows.payloads, rows.contains_log)


def _sealed(vectors: BuildVectors, settings: IndexSettings) -> SealedVectors:
    settings = settings_for(vectors.settings, settings)
    if settings.kind == "flat" or len(vectors.vectors_PD) < settings.flat_below:
        return SealedVectors(_facts(vectors, _flat_facts(settings)), None, vectors.vectors_PD, vectors.rows_P)
    if settings.kind != "auto":
        return indexed(vectors, settings.kind, settings)
    tried = measure_kinds(vectors, settings)
    sealed = indexed(vectors, choose(tried, settings), settings)
    index = sealed.facts.index.model_copy(update={"tried": tuple(tried)})
    return replace(sealed, facts=sealed.facts.model_copy(update={"index": index}))


def settings_for(vectors: VectorSettings, settings: IndexSettings) -> IndexSettings:
    """Give what a vector name's own target changes of the builder's settings."""
    target = vectors.index
    given = {"kind": target.kind, "recall_target": target.recall, "max_code_bytes": target.max_code_bytes}
    return settings.model_copy(update={key: value for key, value in given.items() if value is not None})


def measure_kinds(vectors: BuildVectors, settings: IndexSettings) -> list[TriedIndex]:
    """Index sampled rows in every kind that may reach the target, and measure bytes, recall and time of each.

    Which kind is best depends little on the number of rows; how far it must look is found anew for all of them.
    """
    num_vectors = len(vectors.vectors_PD)
    sample = np.sort(rng(settings.seed, "autotune").permutation(num_vectors)[:SAMPLED_ROWS])
    some = BuildVectors(vectors.settings, vectors.vectors_PD[sample])
    tried = []
    for kind in KINDS:
        try:
            sealed = indexed(some, kind, settings)
        except TargetOutOfReach as error:
            tried.append(TriedIndex(kind=kind, code_bytes=0.0, recall_at_10=error.best, query_us=0.0))
            continue
        size_bytes = faiss.serialize_index(sealed.index).nbytes / len(sample)
        tried.append(
            TriedIndex(kind=kind, code_bytes=size_bytes, recall_at_10=sealed.facts.index.recall_at_10, query_us=_query_us(sealed, settings))
        )
    return tried


def choose(tried: Sequence[TriedIndex], settings: IndexSettings) -> IndexKind:
    """Give the fastest kind that reaches the target within the budget.

    Raises:
        UserError: none does; the message gives what each reached.
    """
    budget = settings.max_code_bytes or math.inf
    good = [one for one in tried if one.recall_at_10 >= settings.recall_target and one.code_bytes <= budget]
    if not good:
        reached = "; ".join(f"{one.kind} {one.recall_at_10:.4f} at {one.code_bytes:.0f} bytes" for one in tried)
        raise UserError(f"no index reaches recall {settings.recall_target} within {budget:g} bytes per vector: {reached}")
    return min(good, key=lambda one: one.query_us).kind


def _query_us(sealed: SealedVectors, settings: IndexSettings) -> float:
    shard, (asked_Q, _) = Shard(alone(sealed)), _samples(len(sealed.vectors_PD), sealed.facts.index.nlist, settings)
    times = []
    for _ in range(NUM_TIMINGS):
        start_s = time.process_time()
        for row in asked_Q.tolist():
            shard.search(sealed.vectors_PD[row : row + 1], RECALL_AT)
        times.append(time.process_time() - start_s)
    return 1e6 * min(times) / len(asked_Q)


def indexed(vectors: BuildVectors, kind: IndexKind, settings: IndexSettings) -> SealedVectors:
    """Index vectors in one kind, with the effort that reaches the target.

    Raises:
        TargetOutOfReach: no effort does.
    """
    num_vectors, dimension = len(vectors.vectors_PD), vectors.settings.dimension
    faiss.omp_set_num_threads(settings.num_threads)
    nlist = None if kind == "hnsw" else num_lists(num_vectors)
    index = faiss.index_factory(dimension, _factory(kind, nlist, dimension), faiss_metric(vectors.settings.metric))
    if nlist is not None:
        index.cp.max_points_per_centroid = POINTS_PER_CENTROID
        index.cp.seed = 1234 + settings.seed
    if kind == "ivf_pq":
        # It orders codes for a search by Hamming distance that nobody here makes, and takes longer than all the rest.
        index.do_polysemous_training = False
    asked_Q, learned = _samples(num_vectors, nlist, settings)
    _train(index, vectors.vectors_PD, learned, nlist, vectors.settings.metric)
    index.add(vectors.vectors_PD)
    facts = _facts(vectors, _flat_facts(settings).model_copy(update={"kind": kind, "nlist": nlist}))
    target = Target(settings.recall_target, settings.rerank_factor, settings.num_threads)
    return replace(tuned(SealedVectors(facts, index, vectors.vectors_PD), asked_Q, target), rows_P=vectors.rows_P)


def _train(index: Any, vectors_PD: Floats, learned: Ints, nlist: int | None, metric: Metric) -> None:
    """Learn centroids, then codes from fewer rows: faiss copies those it learns codes from twice, which is much of a build's memory."""
    if nlist is not None:
        rows_ND = vectors_PD[learned]
        faiss.extract_index_ivf(index).train_q1(len(rows_ND), faiss.swig_ptr(rows_ND), False, faiss_metric(metric))
        del rows_ND
        learned = learned[:: -(-len(learned) // MAX_CODE_ROWS)]
    index.train(vectors_PD[learned])


def _facts(vectors: BuildVectors, index: IndexFacts) -> VectorFacts:
    made = vectors.settings
    return VectorFacts(dimension=made.dimension, metric=made.metric, num_vectors=len(vectors.vectors_PD), index=index)


def _samples(num_vectors: int, nlist: int | None, settings: IndexSettings) -> tuple[Ints, Ints]:
    """Choose rows to ask for, and rows to learn centroids and codes from: what was learned from is found more easily than new queries."""
    shuffled = rng(settings.seed, "recall").permutation(num_vectors)
    num_asked = min(settings.num_recall_queries, num_vectors // 2)
    num_learned = min(num_vectors - num_asked, POINTS_PER_CENTROID * (nlist or MAX_KEPT_CANDIDATES))
    return np.sort(shuffled[:num_asked]), np.sort(shuffled[num_asked : num_asked + num_learned])


def _factory(kind: IndexKind, nlist: int | None, dimension: int) -> str:
    halves = next(parts for parts in range(max(1, dimension // 2), 0, -1) if dimension % parts == 0)
    names = {"ivf_sq8": "SQ8", "ivf_pq": f"PQ{halves}", "ivf_pqfs": f"PQ{halves}x4fs"}
    return "HNSW32,SQ8" if kind == "hnsw" else f"IVF{nlist},{names[kind]}"


def _flat_facts(settings: IndexSettings) -> IndexFacts:
    return IndexFacts(kind="flat", rerank_factor=1.0, recall_at_10=1.0, recall_target=settings.recall_target, num_recall_queries=0)
