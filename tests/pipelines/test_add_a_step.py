"""The guide for newcomers, done word by word in a copy of the checkout."""

import json
from pathlib import Path

import pytest
import yaml

from reelspace.core.local_store import LocalStore
from tests.pipelines.checkout import copy_checkout, do
from tests.pipelines.newcomer import COUNTS, blocks, files_of_the_guide, last_counts, write_labels

HERE = ("4. Compile it", "5. Run it")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with the files of the guide."""
    return copy_checkout(tmp_path_factory.mktemp("checkout"), files_of_the_guide())


def test_a_newcomers_step_is_compiled_for_kubeflow_and_argo_and_runs(checkout: Path, tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    labels = write_labels(store, tmp_path)
    places = {"STORE": str(tmp_path / "store"), "WORK": str(tmp_path / "work"), "LABELS": labels}
    told = [do(checkout, line, **places) for block in blocks("bash", *HERE) for line in block.strip().splitlines()]
    ir = next(yaml.safe_load_all((checkout / "pipelines/compiled/label_counts.yaml").read_text()))
    assert set(ir["root"]["dag"]["tasks"]) == {"find-artifact", "count-labels"}
    argo = yaml.safe_load((checkout / "deploy/label_counts.argo.yaml").read_text())
    assert argo["kind"] == "WorkflowTemplate"
    assert "count_labels  done" in told[-1]
    _, made, counts = last_counts(store)
    assert counts == COUNTS
    (tmp_path / "settings.json").write_text(json.dumps({"count_labels": {"min_works": 2}}))
    run, *_ = blocks("bash", HERE[1])[0].splitlines()
    do(checkout, f"{run} --settings {tmp_path / 'settings.json'}", **places)
    assert last_counts(store)[1] != made
