"""The guide for newcomers, its step run in a container."""

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

from .bed import Bed, environment

pytestmark = pytest.mark.cluster


def test_a_newcomers_step_runs_in_a_container(bed: Bed, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(bed.store).items():
        monkeypatch.setenv(name, value)
    checkout = copy_checkout(folder / "checkout", files_of_the_guide())
    url = f"s3://{bed.store.make_bucket()}/store"
    store = S3Store(S3Place.from_environment(url, environment(bed.store)))
    (folder / "labels").mkdir()
    pq.write_table(pa.table({"video_id": [1, 2, 3, 3, 4], "label_id": [7, 7, 7, 8, 9]}), folder / "labels" / "video_labels.parquet")
    labels = write_artifact(store, "labels", folder / "labels", parents=(), code="", settings={})
    places = {"STORE": url, "WORK": str(folder / "work"), "LABELS": labels.id, "PLACE": str(bed.place(folder))}
    for line in blocks("bash", "6. Run it in containers")[0].strip().splitlines():
        do(checkout, line, **places)
    record = find_record(store, "last")
    assert (record.where, record.state) == ("podman", "done")
    (entry,) = read_journal(store, record.run_id).values()
    counts = pq.read_table(pa.BufferReader(open_artifact(store, entry.outputs["counts"]).read("counts.parquet"))).to_pydict()
    assert counts == {"label_id": [7, 8, 9], "num_works": [3, 1, 1]}
