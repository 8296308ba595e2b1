"""The steps build_index and promote, run as components run them."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelspace.core.artifacts import open_artifact, read_manifest_file, write_artifact, write_manifest_file
from reelspace.core.errors import GateRefused, SettingError, TableError
from reelspace.core.store import LocalStore
from reelspace.search.storage.layout import Collection, ShardManifest, parse
from reelspace.steps import build_index, promote

from .builders import SPACE, make_table
from .test_promote import make_encoders, make_evaluation, pointer_of


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    monkeypatch.setenv("REELSPACE_STORE", str(tmp_path / "store"))
    return LocalStore(tmp_path / "store")


def columns(num_rows: int = 60) -> dict[str, pa.Array]:
    table = make_table(num_rows, 8)
    return {
        "video_id": pa.array(table.ids_N),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(table.vectors_ND.reshape(-1)), 8),
        "picture": pa.FixedSizeListArray.from_arrays(pa.array(-table.vectors_ND.reshape(-1)), 8),
        "created_at": pa.array(table.ids_N * 1_000_000, pa.timestamp("us", tz="UTC")),
        "kind": pa.array(["video"] * num_rows),
    }


def write_vectors(store: LocalStore, directory: Path, values: dict[str, pa.Array]) -> Path:
    files = directory / "vectors-files"
    files.mkdir(parents=True)
    pq.write_table(pa.table(values), files / "vectors.parquet")
    (files / "space.json").write_text(json.dumps({"space_id": SPACE, "dimension": 8}))
    write_manifest_file(write_artifact(store, "vectors", files, parents=(), code="", settings={}).manifest, directory / "vectors")
    return directory / "vectors"


def test_index_holds_every_row_with_its_payload(store: LocalStore, tmp_path: Path) -> None:
    build_index.run(str(write_vectors(store, tmp_path, columns())), str(tmp_path / "index"), '{"num_shards": 2}')
    index = open_artifact(store, read_manifest_file(tmp_path / "index").id)
    collection = parse(Collection, index.read("collection.json"), "collection.json")
    assert collection.vectors[""].dimension == 8
    manifests = [parse(ShardManifest, index.read(f"shards/{shard}/manifest.json"), "manifest") for shard in range(2)]
    assert sum(manifest.num_rows for manifest in manifests) == 60
    assert index.run_facts()["metrics"]["rows_per_shard"] == [manifest.num_rows for manifest in manifests]


def test_named_vector_can_be_chosen(store: LocalStore, tmp_path: Path) -> None:
    vectors = write_vectors(store, tmp_path, columns())
    ids = {}
    for name in ("vector", "picture"):
        build_index.run(str(vectors), str(tmp_path / name), json.dumps({"vector": name}))
        ids[name] = read_manifest_file(tmp_path / name).id
    assert ids["vector"] != ids["picture"]


def null_at(values: pa.Array, row: int) -> pa.Array:
    return pa.array([None if number == row else one for number, one in enumerate(values.to_pylist())], values.type)


BAD = {
    "without ids": (lambda values: {name: column for name, column in values.items() if name != "video_id"}, "video_id"),
    "without payload": (lambda values: {name: column for name, column in values.items() if name != "kind"}, "kind"),
    "no fixed length": (lambda values: values | {"vector": pa.array([[1.0]] * 60)}, "fixed_size_list"),
    "no rows": (lambda values: {name: column[:0] for name, column in values.items()}, "expected rows"),
    "null id": (lambda values: values | {"video_id": null_at(values["video_id"], 3)}, "no null"),
    "null vector": (lambda values: values | {"vector": null_at(values["vector"], 3)}, "a vector may be null"),
    "id twice": (lambda values: values | {"video_id": pa.array([7] * 60)}, "7 is given twice"),
    "NaN": (lambda values: values | {"vector": pa.FixedSizeListArray.from_arrays(pa.array(np.full(480, np.nan, np.float32)), 8)}, "finite"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_vectors_are_refused_by_column(store: LocalStore, tmp_path: Path, name: str) -> None:
    change, message = BAD[name]
    vectors = write_vectors(store, tmp_path, change(columns()))
    with pytest.raises(TableError, match=message):
        build_index.run(str(vectors), str(tmp_path / "index"), "{}")
    assert not (tmp_path / "index").exists()


def test_wrong_setting_names_the_nearest_right_one(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="num_shards"):
        build_index.run(str(tmp_path / "vectors"), str(tmp_path / "index"), '{"num_shard": 2}')


def test_promote_flips_the_pointer_and_gives_its_copy_however_often_it_runs(store: LocalStore, tmp_path: Path) -> None:
    vectors = write_vectors(store, tmp_path, columns())
    build_index.run(str(vectors), str(tmp_path / "index"), "{}")
    parents = (read_manifest_file(vectors).id,)
    evaluation = make_evaluation(store, tmp_path / "evaluation-files", list(parents), {"passed": True, "rows": []})
    write_manifest_file(evaluation.manifest, tmp_path / "evaluation")
    write_manifest_file(make_encoders(store, tmp_path / "encoders", "x").manifest, tmp_path / "repository")
    ids = set()
    for name in ("first", "second"):
        promote.run(*(str(tmp_path / one) for one in ("evaluation", "repository", "index", name)), "{}")
        copy = open_artifact(store, read_manifest_file(tmp_path / name).id)
        assert copy.read("spaces/current.json") == store.get("spaces/current.json")
        ids.add(copy.id)
    assert len(ids) == 1
    assert pointer_of(store).alias == "videos"


def test_promote_refuses_what_did_not_pass_and_writes_nothing(store: LocalStore, tmp_path: Path) -> None:
    build_index.run(str(write_vectors(store, tmp_path, columns())), str(tmp_path / "index"), "{}")
    rows = [{"figure": "teacher.p10", "threshold": 0.8, "value": 0.1, "passed": False}]
    write_manifest_file(make_evaluation(store, tmp_path / "files", [], {"passed": False, "rows": rows}).manifest, tmp_path / "evaluation")
    write_manifest_file(make_encoders(store, tmp_path / "encoders", "x").manifest, tmp_path / "repository")
    with pytest.raises(GateRefused, match=r"teacher\.p10 is 0\.1000"):
        promote.run(*(str(tmp_path / one) for one in ("evaluation", "repository", "index", "promotion")), "{}")
    assert not store.exists("spaces/current.json")
    assert not list(store.list("collections/"))
