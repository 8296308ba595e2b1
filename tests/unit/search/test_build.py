import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reelspace.core.errors import TableError, UserError
from reelspace.search.compute import tuning
from reelspace.search.compute.build import IndexSettings, Table, build_parts, checked_table, rows_of_table, write_index
from reelspace.search.compute.shard import Shard
from reelspace.search.compute.tuning import recall_of
from reelspace.search.storage.layout import IndexFacts, IndexKind, Metric, VectorSettings, shard_of_ids

from .builders import make_collection, make_table

SCRIPT = """
import sys
from pathlib import Path
from reelspace.search.compute.build import IndexSettings, write_index
from tests.unit.search.builders import make_collection, make_table
write_index(make_table(6000, 24, clusters=60), make_collection(24), IndexSettings(flat_below=1), Path(sys.argv[1]))
"""


def digests(directory: Path) -> dict[str, str]:
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    for name, threads in (("a", "1"), ("b", "2")):
        environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / name)], check=True, env=environment, cwd=Path(__file__).parents[3])
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert len(digests(tmp_path / "a")) == 13


def test_order_of_the_rows_changes_no_byte(tmp_path: Path) -> None:
    table = make_table(500)
    write_index(table, make_collection(), IndexSettings(), tmp_path / "a")
    write_index(table.take(np.random.default_rng(1).permutation(500)), make_collection(), IndexSettings(), tmp_path / "b")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_every_row_is_in_the_shard_of_its_id(tmp_path: Path) -> None:
    table = make_table(500)
    manifests = write_index(table, make_collection(num_shards=3), IndexSettings(), tmp_path)
    assert [one.num_rows for one in manifests] == np.bincount(shard_of_ids(table.ids_N, 3)).tolist()
    for shard in range(3):
        ids_N = np.load(tmp_path / "shards" / str(shard) / "ids.npy").astype(np.int64)
        assert (shard_of_ids(ids_N, 3) == shard).all()
        assert (np.diff(ids_N) > 0).all()


def facts_of(table: Table, settings: IndexSettings) -> IndexFacts:
    vectors = VectorSettings(dimension=table.vectors_ND.shape[1])
    return build_parts(rows_of_table(checked_table(table), vectors), settings).vectors[""].facts.index


def test_effort_is_the_smallest_tried_that_reaches_the_target_and_its_recall_is_recorded() -> None:
    table = make_table(6000, 32)
    easy = facts_of(table, IndexSettings(flat_below=1, recall_target=0.6))
    hard = facts_of(table, IndexSettings(flat_below=1, recall_target=0.99))
    assert 1 < easy.effort < hard.effort <= hard.nlist  # type: ignore[operator]
    assert 0.6 <= easy.recall_at_10 < 0.9
    assert hard.recall_at_10 >= 0.99


@pytest.mark.parametrize(("kind", "metric"), [("ivf_pq", "cosine"), ("ivf_pqfs", "dot"), ("hnsw", "euclid"), ("ivf_sq8", "euclid")])
def test_every_kind_of_index_reaches_its_target_on_new_queries(kind: IndexKind, metric: Metric) -> None:
    everything = make_table(4200, 32, clusters=100)
    everything.vectors_ND[:] *= np.linspace(0.5, 2, 4200, dtype=np.float32)[:, None]
    rows = rows_of_table(checked_table(everything.take(np.arange(4000))), VectorSettings(dimension=32, metric=metric))
    shard = Shard(build_parts(rows, IndexSettings(kind=kind, flat_below=1, recall_target=0.97)))
    queries_QD = everything.vectors_ND[4000:]
    assert shard.indexes[""].facts.index.kind == kind
    assert recall_of(shard.search(queries_QD, 10).rows_QK, shard.search_exactly(queries_QD, 10).rows_QK) >= 0.95


def test_a_target_out_of_reach_is_an_error_that_gives_the_best_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tuning.FACTORS, "ivf_pq", (1.0,))
    with pytest.raises(UserError, match=r"recall_target 1.0 is out of reach: ivf_pq gives 0\.\d+ at most"):
        facts_of(make_table(3000, 32), IndexSettings(kind="ivf_pq", flat_below=1, recall_target=1.0))


def test_few_rows_are_compared_one_by_one() -> None:
    assert facts_of(make_table(300), IndexSettings()).kind == "flat"


def test_vectors_are_stored_with_length_one_where_the_metric_is_cosine() -> None:
    table = make_table(50)
    longer = checked_table(replace(table, vectors_ND=table.vectors_ND * np.float32(7)))
    stored = rows_of_table(longer, VectorSettings(dimension=16)).vectors[""].vectors_PD
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-6)
    as_given = rows_of_table(longer, VectorSettings(dimension=16, metric="dot")).vectors[""].vectors_PD
    np.testing.assert_allclose(np.linalg.norm(as_given, axis=1), 7, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_vector_without_direction_is_refused_by_id(value: float) -> None:
    table = make_table(50)
    table.vectors_ND[20] = value
    with pytest.raises(TableError, match=f"vector of id {table.ids_N[20]}"):
        checked_table(table)


def test_id_given_twice_is_refused_by_name() -> None:
    table = make_table(50)
    table.ids_N[3] = table.ids_N[9]
    with pytest.raises(TableError, match=f"{table.ids_N[9]} is given twice"):
        checked_table(table)


def test_negative_id_is_refused() -> None:
    table = make_table(50)
    table.ids_N[3] = -4
    with pytest.raises(TableError, match="-4"):
        checked_table(table)
