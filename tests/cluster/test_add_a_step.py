"""The guide for newcomers, its step run on Argo."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelspace.core.artifacts import open_artifact, write_artifact
from reelspace.core.s3_store import S3Place, S3Store
from reelspace.core.step_records import read_journal
from reelspace.runs.record import find_record
from tests.pipelines.checkout import copy_checkout, do
from tests.pipelines.newcomer import blocks, files_of_the_guide

from .argo import Argo
from .argo_place import argo_place
from .object_store import ObjectStore
from .real_node import RealNode

pytestmark = pytest.mark.cluster


def test_a_newcomers_step_runs_on_argo(
    shared_real_argo: Argo, shared_node: RealNode, pod_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = copy_checkout(tmp_path / "checkout", files_of_the_guide())
    with argo_place(shared_real_argo, shared_node, pod_store, tmp_path, checkout) as place:
        for name, value in pod_store.environment().items():
            monkeypatch.setenv(name, value)
        store = S3Store(S3Place.from_environment(place.store_url, place.environment))
        (tmp_path / "labels").mkdir()
        pq.write_table(pa.table({"video_id": [1, 2, 3, 3, 4], "label_id": [7, 7, 7, 8, 9]}), tmp_path / "labels" / "video_labels.parquet")
        labels = write_artifact(store, "labels", tmp_path / "labels", parents=(), code="", settings={})
        given = {"STORE": place.store_url, "WORK": str(tmp_path / "work"), "LABELS": labels.id, "PLACE": str(place.file)}
        for line in blocks("bash", "7. Run it on Argo")[0].strip().splitlines():
            do(checkout, line, **given)
        record = find_record(store, "last")
        assert (record.where, record.state) == ("argo", "done")
        (entry,) = read_journal(store, record.run_id).values()
        counts = pq.read_table(pa.BufferReader(open_artifact(store, entry.outputs["counts"]).read("counts.parquet"))).to_pydict()
        assert counts == {"label_id": [7, 8, 9], "num_works": [3, 1, 1]}
