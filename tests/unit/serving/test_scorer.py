"""The label head as data, against the same head in torch.

Legend: B rows, L labels, K labels given, D dimension.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from reelspace.core.errors import CorruptArtifact, ReelspaceError
from reelspace.serving.scorer import LabelScorer, write_head
from reelspace.train.teacher_outputs import TeacherLabels

LABELS = [f"label {number} 拉麵" for number in range(300)]
DIMENSION, GIVEN = 16, 20


@pytest.fixture
def head() -> TeacherLabels:
    generator = torch.Generator().manual_seed(5)
    classifiers_LD = normalize(torch.randn(len(LABELS), DIMENSION, generator=generator), dim=1)
    return TeacherLabels(classifiers_LD, torch.randn(len(LABELS), generator=generator) - 3, torch.tensor([9.5]))


@pytest.fixture
def folder(head: TeacherLabels, tmp_path: Path) -> Path:
    write_head(tmp_path, (head.scale * head.classifiers_KD).numpy(), head.bias_K.numpy(), LABELS, GIVEN)
    return tmp_path


def test_labels_and_scores_are_torchs_own(folder: Path, head: TeacherLabels) -> None:
    vectors_BD = normalize(torch.randn(17, DIMENSION, generator=torch.Generator().manual_seed(6)), dim=1)
    expected = torch.sigmoid(head.logits_BK(vectors_BD)).topk(GIVEN, dim=1)
    labels_BK, scores_BK = LabelScorer(folder).best(vectors_BD.numpy())
    np.testing.assert_allclose(scores_BK, expected.values.numpy(), atol=1e-6)
    assert scores_BK.dtype == np.float32
    assert [[label.decode() for label in row] for row in labels_BK] == [[LABELS[place] for place in row] for row in expected.indices]


def test_equal_scores_come_in_the_order_of_the_labels(tmp_path: Path) -> None:
    write_head(tmp_path, np.zeros((9, 4), np.float32), np.array([0, 1, 0, 1, 0, 0, 1, 0, 0], np.float32), [*"abcdefghi"], 5)
    labels_BK, scores_BK = LabelScorer(tmp_path).best(np.ones((2, 4), np.float32))
    assert labels_BK.tolist() == [[b"b", b"d", b"g", b"a", b"c"]] * 2
    np.testing.assert_allclose(scores_BK[0], [0.731059] * 3 + [0.5] * 2, atol=1e-6)


def test_fewer_labels_than_asked_are_all_given(tmp_path: Path) -> None:
    facts = write_head(tmp_path, np.eye(3, 4, dtype=np.float32), np.zeros(3, np.float32), ["x", "y", "z"], 20)
    assert facts.num_given == 3
    assert LabelScorer(tmp_path).best(np.array([[0, 2, 1, 0]], np.float32))[0].tolist() == [[b"y", b"z", b"x"]]


def test_only_the_direction_of_a_vector_counts(folder: Path) -> None:
    scorer, vector_1D = LabelScorer(folder), np.linspace(-1, 1, DIMENSION, dtype=np.float32)[None]
    wanted = scorer.best(vector_1D)
    for scale in (1e-20, 1e30):
        labels_BK, scores_BK = scorer.best(vector_1D * np.float32(scale))
        assert labels_BK.tolist() == wanted[0].tolist()
        np.testing.assert_allclose(scores_BK, wanted[1], rtol=1e-4)


def test_extreme_logits_stay_finite(tmp_path: Path) -> None:
    write_head(tmp_path, np.array([[1e4], [-1e4]], np.float32), np.zeros(2, np.float32), ["sure", "never"], 2)
    assert LabelScorer(tmp_path).best(np.ones((1, 1), np.float32))[1].tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
def test_a_vector_without_a_direction_fails_alone(folder: Path, value: float) -> None:
    good = np.ones((1, DIMENSION), np.float32)
    bad = np.concatenate([good, np.full_like(good, value)])
    first, refused, last = LabelScorer(folder).score_requests([{"EMBEDDING": good}, {"EMBEDDING": bad}, {"EMBEDDING": good}])
    assert isinstance(refused, ReelspaceError)
    assert str(refused).startswith("EMBEDDING: row 1: ")
    assert isinstance(first, dict)
    assert isinstance(last, dict)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def other_size(path: Path) -> None:
    np.save(path, np.zeros((3, 3), np.float32))


def other_numbers(path: Path) -> None:
    np.save(path, np.load(path).astype(np.float64))


def objects(path: Path) -> None:
    np.save(path, np.array([print], dtype=object), allow_pickle=True)


DAMAGED = {
    "head.json": [cut, lambda path: path.write_text('{"dimension": 16}'), Path.unlink],
    "labels.json": [cut, lambda path: path.write_text('["one"]'), lambda path: path.write_text("{}"), Path.unlink],
    "classifiers.npy": [cut, other_size, other_numbers, objects, Path.unlink],
    "biases.npy": [cut, other_size, other_numbers, objects, Path.unlink],
}


@pytest.mark.parametrize(("name", "change"), [(name, change) for name, changes in DAMAGED.items() for change in changes])
def test_a_file_that_is_not_what_an_export_writes_is_refused_by_name(folder: Path, name: str, change: Callable[[Path], object]) -> None:
    change(folder / name)
    with pytest.raises(CorruptArtifact, match=name):
        LabelScorer(folder)
