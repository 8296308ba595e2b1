"""The labels of a work and their reasons, read back from the files that a training leaves."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from reelspace.core.errors import UserError
from reelspace.evaluate.explained_labels import TrainedLabels, crowd_labels
from reelspace.train.assembly import _label_tensors
from reelspace.train.settings import TrainSettings
from tests.unit.train.builders import WORDS, make_objective

IDS = (7, 3, 9, 4)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Teacher and labels of the small world in one folder: camera (7) and drone (4) are neighbours."""
    objective = make_objective(TrainSettings())
    head = objective.label_head
    assert head is not None
    torch.manual_seed(1)
    with torch.no_grad():
        head.network.second.add_(torch.randn_like(head.network.second) * 0.1)
    head.refresh(objective.model.encode_text)
    save_file(_label_tensors(head, len(WORDS)), tmp_path / "label_head.safetensors")
    tables = {
        "labels": {"label_id": IDS, "text": WORDS},
        "graph": {"i": [4, 7], "j": [7, 4], "count": [4, 4], "p_ij": [0.8, 0.8]},
        "video_labels": {"video_id": [1, 1, 2], "label_id": [7, 9, 3]},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table({key: list(values) for key, values in columns.items()}), tmp_path / f"{name}.parquet")
    return tmp_path


def test_labels_come_by_probability_and_parts_sum_to_the_cosine(files: Path) -> None:
    trained = TrainedLabels.read(files, files)
    vector = np.random.default_rng(0).normal(size=24)
    vector /= np.linalg.norm(vector)
    found = trained.explain(vector, frozenset({7}), 4, 5)
    cosines = trained.tensors["label_vectors"].double().numpy() @ vector
    logits = trained.tensors["label_scale"].item() * cosines + trained.tensors["label_bias"].double().numpy()
    assert [row["label"] for row in found] == [WORDS[column] for column in np.argsort(-logits)]
    np.testing.assert_allclose([row["probability"] for row in found], np.sort(1 / (1 + np.exp(-logits)))[::-1], atol=1e-3)
    assert [row["label"] for row in found if row["given_by_the_crowd"]] == ["camera"]


def test_a_neighbour_on_the_work_that_speaks_for_the_label_is_its_reason(files: Path) -> None:
    trained = TrainedLabels.read(files, files)
    terms = trained.network.terms(trained.tensors["inputs_KD"], 0)
    towards = terms.term_JD[terms.column_J == 3][0].detach().numpy()
    vector = (towards / np.linalg.norm(towards)).astype(np.float32)
    row = next(row for row in trained.explain(vector, frozenset({4}), 4, 5) if row["label"] == "camera")
    assert [(reason["label"], reason["on_the_work"]) for reason in row["reasons"]] == [("drone", True)]
    assert row["reasons"][0]["p"] == pytest.approx(0.8)
    assert row["reasons"][0]["adds"] == pytest.approx(float(np.linalg.norm(towards)), abs=1e-3)


def test_the_labels_of_a_work_are_those_the_crowd_gave(files: Path) -> None:
    assert crowd_labels(files, 1) == {7, 9}


def test_a_teacher_without_a_label_graph_is_refused(files: Path) -> None:
    save_file({"label_vectors": torch.zeros(4, 24)}, files / "label_head.safetensors")
    with pytest.raises(UserError, match="label_head = graph"):
        TrainedLabels.read(files, files)
    (files / "label_head.safetensors").unlink()
    with pytest.raises(UserError, match="without labels"):
        TrainedLabels.read(files, files)
