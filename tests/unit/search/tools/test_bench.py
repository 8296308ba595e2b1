"""Measured figures are those of the collection: recall against brute force over all rows, without the row that is asked for."""

from pathlib import Path

import numpy as np
import pytest

import reelspace.search
from reelspace.core.errors import UserError
from reelspace.core.local_store import LocalStore
from reelspace.search.compute.build import IndexSettings
from reelspace.search.storage.layout import Metric
from reelspace.search.tools.bench import BenchPlan, bench_embedded, bench_gateway, draw_sample, line, vector_of
from reelspace.search.tools.import_rows import ImportPlan, import_into_store
from reelspace.search.tools.source import source_of_gateway, source_of_store

from .worlds import gateway, vectors, write_file

NUM_ROWS = 700
PLAN = BenchPlan("", num_sampled=20, concurrency=2, num_queries=30)


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclid"])
def test_the_nearest_of_sampled_rows_are_those_of_brute_force(tmp_path: Path, metric: Metric) -> None:
    store, rows_ND = LocalStore(tmp_path / "store"), vectors(NUM_ROWS)
    import_into_store(store, write_file(tmp_path / "a.parquet", list(range(NUM_ROWS)), rows_ND), ImportPlan("things", metric, 2))
    sample = draw_sample(source_of_store(store, "things"), PLAN)
    assert sample.num_rows == NUM_ROWS
    assert len(set(sample.ids)) == 20
    unit_ND = rows_ND / np.linalg.norm(rows_ND, axis=1, keepdims=True)
    for id, exact in zip(sample.ids, sample.exact, strict=True):
        assert isinstance(id, int)
        wanted = {
            "cosine": -(unit_ND @ unit_ND[id]),
            "dot": -(rows_ND @ rows_ND[id]),
            "euclid": np.linalg.norm(rows_ND - rows_ND[id], axis=1),
        }[metric]
        assert list(exact) == [int(place) for place in np.argsort(wanted) if place != id][:10]


def test_recall_is_one_where_every_row_is_compared_and_less_where_hits_are_missed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    rows = write_file(tmp_path / "a.parquet", list(range(NUM_ROWS)), vectors(NUM_ROWS, 32))
    import_into_store(store, rows, ImportPlan("exact", None, 2))
    poor = IndexSettings(flat_below=1, recall_target=0.3, num_recall_queries=64)
    import_into_store(store, rows, ImportPlan("poor", None, 1, poor))
    with gateway(store) as client:
        served = bench_gateway(client, "exact", source_of_gateway(client, "exact"), PLAN)
    with reelspace.search.open(str(tmp_path / "store")) as database:
        exact, missed = (
            bench_embedded(database.collection(name), source_of_store(store, name), BenchPlan("", 100, 2, 30)) for name in ("exact", "poor")
        )
    assert (served.recall_at_10, exact.recall_at_10) == (1.0, 1.0)
    assert 0.2 < missed.recall_at_10 < 0.9
    for figures in (served, exact):
        assert figures.rows == NUM_ROWS
        assert 0 < figures.p50_ms <= figures.p99_ms
        assert figures.queries_per_second > 0
    assert line(exact).startswith("700 rows: recall at 10 1.0000, ")


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    import_into_store(store, write_file(tmp_path / "a.parquet", [1], vectors(1)), ImportPlan("things"))
    source = source_of_store(store, "things")
    assert vector_of(source, None) == ""
    with pytest.raises(UserError, match="1 rows: nothing to compare"):
        draw_sample(source, PLAN)
    with pytest.raises(UserError, match="vector 'text'"):
        vector_of(source, "text")
