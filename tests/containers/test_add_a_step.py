"""The guide for newcomers, its step run in a container."""

from pathlib import Path

import pytest

from reelspace.core.s3_store import S3Place, S3Store
from tests.pipelines.checkout import copy_checkout, do
from tests.pipelines.newcomer import COUNTS, blocks, files_of_the_guide, last_counts, write_labels

from .bed import Bed, environment

pytestmark = pytest.mark.cluster


def test_a_newcomers_step_runs_in_a_container(bed: Bed, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(bed.store).items():
        monkeypatch.setenv(name, value)
    checkout = copy_checkout(folder / "checkout", files_of_the_guide())
    url = f"s3://{bed.store.make_bucket()}/store"
    store = S3Store(S3Place.from_environment(url, environment(bed.store)))
    labels = write_labels(store, folder)
    places = {"STORE": url, "WORK": str(folder / "work"), "LABELS": labels, "PLACE": str(bed.place(folder))}
    for line in blocks("bash", "6. Run it in containers")[0].strip().splitlines():
        do(checkout, line, **places)
    record, _, counts = last_counts(store)
    assert (record.where, record.state) == ("podman", "done")
    assert counts == COUNTS
