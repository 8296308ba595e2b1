"""The finetune step: a head of new classes, the model below it as it was or of a new space, resumption, refusals."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load, load_file

from reelspace.core.artifacts import Artifact, open_artifact
from reelspace.core.errors import UserError
from reelspace.core.store import open_store
from reelspace.media.dataset import ShardReader
from reelspace.model.checkpoint import load_model, save_model, space_id
from reelspace.model.inputs import video_inputs
from reelspace.model.task_head import load_head
from reelspace.steps import finetune, import_labelled
from reelspace.train.finetune_settings import FinetuneSettings
from reelspace.train.settings import OptimizerSettings
from tests.steps.finetune_world import IDS, KNOWN, NEW, make_place, put, topic_of, topic_rows, write_table
from tests.steps.training_steps import LIMIT_S, Place, logged
from tests.unit.train.worlds import NUM_WORKS

FILES = {"head.safetensors", "labels.parquet", "task.json", "summary.json", "train_log.jsonl"}
MODEL_FILES = {"model.safetensors", "model.json", "tokenizer.json", "space.json"}
ARGUMENTS = ("finetune", "teacher", "shards", "table", "head")
SETTINGS = FinetuneSettings(
    engine="torch", steps=60, batch_size=8, min_works=2, checkpoint_every=20, log_every=1, optimizer=OptimizerSettings(learning_rate=0.05)
)

BLOCKS = {"train_blocks": 1, "augment_views": True, "steps": 60, "checkpoint_every": 2, "engine": "deepspeed", "zero_stage": 2}


def settings(**change: Any) -> dict[str, Any]:
    return SETTINGS.model_copy(update=change).model_dump(mode="json")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(tmp_path_factory.mktemp("place"))


def import_table(place: Place, rows: list[dict[str, Any]], patch: pytest.MonkeyPatch) -> None:
    patch.setenv("REELSPACE_STORE", place.world.store)
    import_labelled.run(write_table(place.root / "my.jsonl", rows), str(place.manifest("table")), "{}")


def vectors_ND(place: Place, model_at: Path) -> np.ndarray:
    """The fused vectors of all works, by the model's own function."""
    model, tokenizer, sizes = load_model(model_at)
    samples = ShardReader(open_artifact(open_store(place.world.store), place.world.shards)).read_all(list(IDS))
    with torch.inference_mode():
        return model.encode_video(*video_inputs(samples, sizes, tokenizer)).embedding_BD.numpy()


def summary_of(head: Artifact) -> dict[str, Any]:
    return dict(json.loads(head.read("summary.json")))


def run_here(place: Place, *manifests: str, **change: Any) -> Artifact:
    """Run the step in this process; only the training is a process of its own."""
    finetune.run(*(str(place.manifest(name)) for name in manifests), str(place.manifest("head")), json.dumps(settings(**change)))
    return place.artifact("head")


def test_a_head_of_a_users_classes_is_right_on_works_it_never_saw(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import_table(place, topic_rows(), monkeypatch)
    artifact = run_here(place, "teacher", "shards", "table")
    assert set(artifact.names()) == FILES
    teacher_at = place.artifact("teacher").fetch(tmp_path / "teacher")
    head = load_head(artifact.fetch(tmp_path / "head"), space_id(teacher_at))
    assert (head.facts.task, head.facts.base) == ("single_label", place.artifact("teacher").id)
    scores = head.scores_NK(vectors_ND(place, teacher_at)[-8:])
    given = [head.classes_K[column] for column in scores.argmax(axis=1)]
    right = np.mean([label == topic_of(video_id) for label, video_id in zip(given, list(IDS)[-8:], strict=True)])
    found = summary_of(artifact)
    assert (found["works"], found["classes"], found["held_out"]["works"]) == (NUM_WORKS - 8, 4, 8)
    assert found["held_out"]["accuracy"] == right
    assert right > found["held_out"]["majority"] == 0.25
    assert found == artifact.run_facts()["metrics"]


def test_labels_the_teacher_never_saw_get_classifiers_and_the_old_ones_stay_bit_for_bit(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("REELSPACE_STORE", place.world.store)
    artifact = run_here(place, "teacher", "shards", "labels", extend=True, start="graph", held_out=0.3)
    head = load_head(artifact.fetch(tmp_path / "head"), json.loads(place.artifact("teacher").read("space.json"))["space_id"])
    assert head.classes_K == (*KNOWN, *NEW)
    assert pq.read_table(tmp_path / "head/labels.parquet")["label_id"].to_pylist() == [0, 1, 2, 3]
    old = load(place.artifact("teacher").read("label_head.safetensors"))
    assert torch.equal(head.tensors["weight_KC"][:2], old["label_scale"] * old["label_vectors"])
    assert torch.equal(head.tensors["bias_K"][:2], old["label_bias"])
    held = summary_of(artifact)["held_out"]
    assert held["map"] >= held["at_start"]["map"]
    losses = [loss for _, loss in logged(artifact)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.fixture(scope="module")
def moved(place: Place) -> Artifact:
    """A head trained with the last blocks."""
    with pytest.MonkeyPatch.context() as patch:
        import_table(place, topic_rows(), patch)
        # As the processes of the tests have.
        patch.setenv("OMP_NUM_THREADS", "1")
        return run_here(place, "teacher", "shards", "table", **BLOCKS)


def test_trained_blocks_give_a_model_of_a_new_space_and_leave_the_rest_as_it_was(place: Place, moved: Artifact, tmp_path: Path):
    assert set(moved.names()) == FILES | MODEL_FILES
    head_at, teacher_at = moved.fetch(tmp_path / "head"), place.artifact("teacher").fetch(tmp_path / "teacher")
    new, old = space_id(head_at), space_id(teacher_at)
    assert json.loads((head_at / "space.json").read_text())["space_id"] == new != old
    before, after = load_file(teacher_at / "model.safetensors"), load_file(head_at / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {"picture.tower.blocks.1.mlp.up.weight", "text.tower.project.weight", "fusion.project.weight"} <= changed
    assert not any(".stem." in name or "token" in name or "picture.tower.blocks.0." in name for name in changed)
    with pytest.raises(UserError, match=f"reads vectors of space {new}, got vectors of space {old}"):
        load_head(head_at, old)
    head = load_head(head_at, new)
    given = [head.classes_K[column] for column in head.scores_NK(vectors_ND(place, head_at)[-8:]).argmax(axis=1)]
    right = np.mean([label == topic_of(video_id) for label, video_id in zip(given, list(IDS)[-8:], strict=True)])
    assert summary_of(moved)["held_out"]["accuracy"] == right


def test_a_killed_fine_tuning_resumes_to_the_very_head_and_model_of_an_uninterrupted_one(
    place: Place, moved: Artifact, monkeypatch: pytest.MonkeyPatch
):
    import_table(place, topic_rows(), monkeypatch)
    # The records by which a second run would reuse the first one's head.
    records = Path(place.world.store) / "runs" / moved.run_facts()["key"]
    shutil.rmtree(records)
    killed = place.start(*ARGUMENTS, settings=settings(**BLOCKS))
    deadline_s = time.monotonic() + LIMIT_S
    while not any(records.glob("state/checkpoints/step-*")):
        assert killed.poll() is None, killed.communicate()[1]
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    killed.kill()
    killed.communicate()
    code, told = place.run(*ARGUMENTS, settings=settings(**BLOCKS))
    assert code == 0, told
    assert '"event": "resumed"' in told
    resumed = place.artifact("head")
    assert all(resumed.read(name) == moved.read(name) for name in ("head.safetensors", "model.safetensors"))
    assert logged(resumed) == logged(moved)


def test_inputs_of_another_kind_are_refused_before_anything_starts(place: Place, monkeypatch: pytest.MonkeyPatch):
    import_table(place, topic_rows(), monkeypatch)
    with pytest.raises(UserError, match="model is an artifact of kind shards, expected teacher or student"):
        run_here(place, "shards", "shards", "table")
    with pytest.raises(UserError, match="table is an artifact of kind shards"):
        run_here(place, "teacher", "shards", "shards")
    with pytest.raises(UserError, match="start is graph and the table is no `labels` artifact"):
        run_here(place, "teacher", "shards", "table", start="graph")
    with pytest.raises(UserError, match="train_blocks is 9, expected at most 2"):
        run_here(place, "teacher", "shards", "table", train_blocks=9)


def test_every_label_known_leaves_nothing_to_extend(place: Place, monkeypatch: pytest.MonkeyPatch):
    rows = [{"video_id": video_id, "label": [KNOWN[video_id % 2]]} for video_id in IDS]
    import_table(place, rows, monkeypatch)
    with pytest.raises(UserError, match="expected at least 1 class that the model has no classifier for"):
        run_here(place, "teacher", "shards", "table", extend=True)


def test_a_model_that_gives_no_finite_vector_is_refused(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import_table(place, topic_rows(), monkeypatch)
    broken = place.artifact("teacher").fetch(tmp_path / "teacher")
    model, tokenizer, _ = load_model(broken)
    model.fusion.project.bias.data[0] = float("nan")
    save_model(broken, model, tokenizer)
    put(place, "broken", broken, "teacher")
    with pytest.raises(UserError, match=f"vectors of {NUM_WORKS} of {NUM_WORKS} works are not finite"):
        run_here(place, "broken", "shards", "table")
    (broken / "label_head.safetensors").unlink()
    put(place, "broken", broken, "teacher")
    with pytest.raises(UserError, match="extend is on"):
        run_here(place, "broken", "shards", "table", extend=True, task="multi_label")


def test_rows_with_an_unknown_work_are_counted_or_refused(place: Place, monkeypatch: pytest.MonkeyPatch):
    import_table(place, [*topic_rows(), *({"video_id": number, "label": "cat"} for number in range(5))], monkeypatch)
    with pytest.raises(UserError, match=r"5 of the table's 25 works are not in the shards \(video_id 0, 1, 2, 3, 4\)"):
        run_here(place, "teacher", "shards", "table")


def test_an_empty_table_file_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch):
    schema = pa.schema({"video_id": pa.int64(), "label": pa.large_string()})
    pq.write_table(schema.empty_table(), place.root / "empty.parquet")
    monkeypatch.setenv("REELSPACE_STORE", place.world.store)
    with pytest.raises(UserError, match="it has no rows"):
        import_labelled.run(str(place.root / "empty.parquet"), str(place.manifest("table")), "{}")
