"""The vectors, payloads and queries that all systems get, and the exact answers, with and without a condition.

Legend: N rows, Q queries, D dimension, K hits.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import faiss
import numpy as np

from benchmarks.record import ROOT
from benchmarks.search_peers.system import FILTERS, UNFILTERED, Floats, Ints, K, Rows
from reelspace.core.rng import rng
from reelspace.search.clustered import ClusteredVectors

SEED: Final = 20261123
DIMENSION: Final = 128
SIFT: Final = "sift"
_BVECS_HEAD: Final = 4


@dataclass(frozen=True, slots=True)
class World:
    """One data set."""

    name: str
    rows: Rows
    queries_QD: Floats
    new: Rows
    """Rows to write while others search; none where the data set has none to spare."""
    exact: Mapping[str, Ints]
    """Under each payload key, and under "" for no condition: the ids of the K nearest rows of each query, under its condition."""

    @property
    def raw_bytes(self) -> int:
        """What the vectors alone occupy."""
        return self.rows.vectors_ND.nbytes


def generated(num_rows: int, num_queries: int, num_new: int) -> World:
    """Draw clustered vectors, queries and new rows from one world, payloads at random."""
    world = ClusteredVectors(DIMENSION, SEED)
    vectors_ND, queries_QD, new_ND = (
        world.rows(num, stream) for num, stream in ((num_rows, "gallery"), (num_queries, "queries"), (num_new, "new"))
    )
    return _world(f"{num_rows // 1000}k", vectors_ND, queries_QD, new_ND)


def sift() -> World | None:
    """Give the real SIFT vectors, scaled to length 1; None where the folder of real data is not there."""
    folder = Path(os.environ.get("REELSPACE_TEST_DATA") or ROOT.parent / "shared" / "data") / "ann" / "bigann10k"
    if not folder.is_dir():
        return None
    vectors_ND, queries_QD = (_read_bvecs(folder / name) for name in ("base.bvecs", "query.bvecs"))
    return _world(SIFT, vectors_ND, queries_QD, vectors_ND[:0])


def exact(rows: Rows, queries_QD: Floats, key: str) -> Ints:
    """Rank all rows that pass each query's condition by inner product; queries and their conditions as `where_of` pairs them."""
    if key == UNFILTERED:
        _, places_QK = faiss.knn(queries_QD, rows.vectors_ND, K, metric=faiss.METRIC_INNER_PRODUCT)
        return _taken(rows.ids_N, places_QK)
    found_QK = np.empty((len(queries_QD), K), np.int64)
    for value in range(FILTERS[key]):
        allowed = np.flatnonzero(rows.payload[key] == value)
        asked = slice(value, None, FILTERS[key])
        _, places_QK = faiss.knn(queries_QD[asked], rows.vectors_ND[allowed], K, metric=faiss.METRIC_INNER_PRODUCT)
        found_QK[asked] = _taken(rows.ids_N[allowed], places_QK)
    return found_QK


def _taken(ids_N: Ints, places_QK: Ints) -> Ints:
    assert (places_QK >= 0).all(), "every condition lets at least K rows through"
    taken: Ints = ids_N[places_QK]
    return taken


def _world(name: str, vectors_ND: Floats, queries_QD: Floats, new_ND: Floats) -> World:
    draw, num = rng(SEED, "payloads", name), len(vectors_ND) + len(new_ND)
    payload = {key: draw.integers(0, num_values, num) for key, num_values in FILTERS.items()}
    everything = Rows(np.arange(num), np.concatenate([vectors_ND, new_ND]), payload)
    rows = everything[: len(vectors_ND)]
    return World(name, rows, queries_QD, everything[len(vectors_ND) :], {key: exact(rows, queries_QD, key) for key in ("", *FILTERS)})


def _read_bvecs(path: Path) -> Floats:
    whole_NB = np.fromfile(path, np.uint8).reshape(-1, _BVECS_HEAD + DIMENSION)
    vectors_ND = whole_NB[:, _BVECS_HEAD:].astype(np.float32)
    unit_ND: Floats = vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return unit_ND
