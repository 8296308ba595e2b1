"""The guide for newcomers, done word by word in a copy of the checkout."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from reelspace.core.artifacts import open_artifact, write_artifact
from reelspace.core.local_store import LocalStore
from reelspace.core.step_records import read_journal
from reelspace.runs.record import find_record
from tests.pipelines.checkout import copy_checkout, do
from tests.pipelines.newcomer import blocks, files_of_the_guide

HERE = ("4. Compile it", "5. Run it")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with the files of the guide."""
    return copy_checkout(tmp_path_factory.mktemp("checkout"), files_of_the_guide())


def test_a_newcomers_step_is_compiled_for_kubeflow_and_argo_and_runs(checkout: Path, tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    (tmp_path / "labels").mkdir()
    rows = {"video_id": [1, 2, 3, 3, 4], "label_id": [7, 7, 7, 8, 9]}
    pq.write_table(pa.table(rows), tmp_path / "labels" / "video_labels.parquet")
    labels = write_artifact(store, "labels", tmp_path / "labels", parents=(), code="", settings={})
    places = {"STORE": str(tmp_path / "store"), "WORK": str(tmp_path / "work"), "LABELS": labels.id}
    told = [do(checkout, line, **places) for block in blocks("bash", *HERE) for line in block.strip().splitlines()]
    ir = next(yaml.safe_load_all((checkout / "pipelines/compiled/label_counts.yaml").read_text()))
    assert set(ir["root"]["dag"]["tasks"]) == {"find-artifact", "count-labels"}
    argo = yaml.safe_load((checkout / "deploy/label_counts.argo.yaml").read_text())
    assert argo["kind"] == "WorkflowTemplate"
    assert "count_labels  done" in told[-1]
    record = find_record(store, "last")
    (entry,) = read_journal(store, record.run_id).values()
    counts = pq.read_table(pa.BufferReader(open_artifact(store, entry.outputs["counts"]).read("counts.parquet"))).to_pydict()
    assert counts == {"label_id": [7, 8, 9], "num_works": [3, 1, 1]}
    (tmp_path / "settings.json").write_text(json.dumps({"count_labels": {"min_works": 2}}))
    run, *_ = blocks("bash", HERE[1])[0].splitlines()
    do(checkout, f"{run} --settings {tmp_path / 'settings.json'}", **places)
    assert read_journal(store, find_record(store, "last").run_id)["count_labels"].outputs["counts"] != entry.outputs["counts"]
