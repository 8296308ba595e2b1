"""Bring your own encoder: the steps from pretrain to export with a CLIP-family checkpoint as the teacher, or as its towers."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from reelspace.core.errors import UserError
from reelspace.model.checkpoint import load_model
from reelspace.model.inputs import video_inputs
from reelspace.steps import pretrain
from reelspace.train.settings import AugmentSettings, DistillSettings
from tests.steps.training_steps import PRETRAIN, Place

pytest.importorskip("transformers", reason="needs the extra `clip`")

from reelspace.media.dataset import ShardReader
from tests.unit.model.clip_folders import DIMENSION, write_clip

DISTILL = DistillSettings(steps=2, batch_size=8, engine="torch", augment=AugmentSettings(drop_picture=0.0))


def settings_of(role: str, checkpoint: Path) -> dict[str, object]:
    values = PRETRAIN.model_dump(mode="json") | {"encoder": str(checkpoint), "encoder_role": role, "steps": 2}
    return values | {"objective": PRETRAIN.objective.model_dump(mode="json") | {"keywords": 0.0}}


@pytest.mark.parametrize("role", ["teacher", "towers"])
def test_a_public_checkpoint_goes_the_way_of_every_teacher(role: str, tmp_path: Path) -> None:
    write_clip(tmp_path / "checkpoint")
    place = Place.make(tmp_path)
    for step, manifests, settings in (
        ("pretrain", ("shards", "labels", "teacher"), settings_of(role, tmp_path / "checkpoint")),
        ("distill", ("teacher", "shards", "labels", "student"), DISTILL.model_dump(mode="json")),
        ("embed", ("teacher", "student", "shards", "vectors"), {}),
        ("export", ("teacher", "student", "repository"), {}),
    ):
        code, told = place.run(step, *manifests, settings=settings)
        assert code == 0, told
    dimension = DIMENSION if role == "teacher" else 128
    vectors = pq.read_table(pa.BufferReader(place.artifact("vectors").read("vectors.parquet")))
    found_ND = np.array(vectors["vector"].to_pylist())
    assert found_ND.shape == (vectors.num_rows, dimension)
    np.testing.assert_allclose(np.linalg.norm(found_ND, axis=1), 1, atol=1e-4)
    assert np.array(vectors["student"].to_pylist()).shape == found_ND.shape
    model, tokenizer, sizes = load_model(place.artifact("teacher").fetch(tmp_path / "fetched"))
    works = ShardReader(place.artifact("shards")).read_all([100, 101])
    with torch.inference_mode():
        expected = model.encode_video(*video_inputs(works, sizes, tokenizer)).embedding_BD.numpy()
    np.testing.assert_allclose(found_ND[:2], expected, atol=1e-4)
    difference = json.loads(place.artifact("repository").read("export.json"))["max_abs_difference"]
    assert max(difference.values()) < 1e-3


def test_other_weights_in_the_same_folder_give_another_teacher(tmp_path: Path) -> None:
    write_clip(tmp_path / "checkpoint")
    place = Place.make(tmp_path)
    settings = settings_of("teacher", tmp_path / "checkpoint")
    ids = []
    for bias in (0.0, 0.5):
        theirs = write_clip(tmp_path / "checkpoint")
        with torch.no_grad():
            theirs.visual_projection.weight.add_(bias)
        theirs.save_pretrained(tmp_path / "checkpoint")
        code, told = place.run("pretrain", "shards", "labels", "teacher", settings=settings)
        assert code == 0, told
        ids.append(place.artifact("teacher").id)
    assert ids[0] != ids[1]


def test_a_missing_checkpoint_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place.make(tmp_path)
    monkeypatch.setitem(os.environ, "REELSPACE_STORE", place.world.store)
    manifests = [str(place.manifest(name)) for name in ("shards", "labels", "teacher")]
    with pytest.raises(UserError, match=r"encoder, found none at .*/nowhere"):
        pretrain.run(*manifests, json.dumps(settings_of("teacher", tmp_path / "nowhere")))
