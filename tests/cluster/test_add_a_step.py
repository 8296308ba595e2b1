"""The guide for newcomers, its step run on Argo."""

from pathlib import Path

import pytest

from reelspace.core.s3_store import S3Place, S3Store
from tests.pipelines.checkout import copy_checkout, do
from tests.pipelines.newcomer import COUNTS, blocks, files_of_the_guide, last_counts, write_labels

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
        labels = write_labels(store, tmp_path)
        given = {"STORE": place.store_url, "WORK": str(tmp_path / "work"), "LABELS": labels, "PLACE": str(place.file)}
        for line in blocks("bash", "7. Run it on Argo")[0].strip().splitlines():
            do(checkout, line, **given)
        record, _, counts = last_counts(store)
        assert (record.where, record.state) == ("argo", "done")
        assert counts == COUNTS
