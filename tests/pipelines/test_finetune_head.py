"""The pipeline finetune_head on kfp's local runner: from ids and a table to a head, every task a process of its own."""

import json
from pathlib import Path

import pytest
from kfp import local

from pipelines.finetune_head import finetune_head
from reelspace.core.artifacts import open_artifact
from reelspace.core.step_records import read_journal
from reelspace.core.store import open_store
from tests.steps.finetune_world import make_place, topic_rows, write_table


# kfp's local runner says of each task that it limits no memory.
@pytest.mark.filterwarnings("ignore:Task .* have no effect in the current local runner:UserWarning")
def test_the_pipeline_gives_a_head_of_the_named_model_and_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = make_place(tmp_path)
    monkeypatch.setenv("REELSPACE_STORE", place.world.store)
    monkeypatch.setenv("REELSPACE_RUN_ID", "one")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "kfp"), raise_on_error=True)
    teacher = place.artifact("teacher").id
    finetune_head(
        model_id=teacher,
        shards_id=place.world.shards,
        table_uri=write_table(tmp_path / "my.jsonl", topic_rows()),
        finetune_settings=json.dumps({"steps": 3, "batch_size": 4, "min_works": 2, "engine": "torch"}),
    )
    store = open_store(place.world.store)
    journal = read_journal(store, "one")
    head = open_artifact(store, journal["finetune"].outputs["head"])
    assert set(head.manifest.parents) == {teacher, place.world.shards, journal["import_labelled"].outputs["table"]}
    assert json.loads(head.read("task.json"))["num_classes"] == 4
