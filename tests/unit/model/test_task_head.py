"""A task head: what it answers, and which vectors it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from reelspace.core.errors import UserError
from reelspace.model.task_head import HEAD_FILE, HeadStart, Task, TaskFacts, TaskHead, load_head, save_head

CLASSES = ((4, "cat"), (7, "dog"), (9, "drone"))
SPACE = "00112233aabbccdd"
DIMENSION = 6


def make_head(hidden: int | None = None) -> TaskHead:
    """A head as after some training."""
    torch.manual_seed(1)
    head = TaskHead(HeadStart(torch.randn(3, DIMENSION), torch.randn(3), 7.0), hidden)
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    return head


def write(directory: Path, head: TaskHead, task: Task = "multi_label") -> Path:
    facts = TaskFacts(task=task, num_classes=3, base="a" * 64, space_id=SPACE, dimension=DIMENSION)
    save_head(directory, facts, CLASSES, head.tensors())
    return directory


def vectors_ND(num: int = 5) -> np.ndarray:
    drawn = np.random.default_rng(0).normal(size=(num, DIMENSION)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@pytest.mark.parametrize("hidden", [None, 4])
def test_a_loaded_head_answers_what_the_trained_one_does(tmp_path: Path, hidden: int | None):
    head = make_head(hidden)
    loaded = load_head(write(tmp_path, head), SPACE)
    assert loaded.classes_K == ("cat", "dog", "drone")
    expected = head(torch.from_numpy(vectors_ND())).detach()
    assert torch.allclose(loaded.logits_NK(vectors_ND()), expected, atol=1e-5)
    assert np.allclose(loaded.scores_NK(torch.from_numpy(vectors_ND())), 1 / (1 + np.exp(-expected.numpy())), atol=1e-6)


def test_scores_of_one_class_each_are_a_softmax(tmp_path: Path):
    loaded = load_head(write(tmp_path, make_head(), "single_label"), SPACE)
    weights = load_file(tmp_path / HEAD_FILE)
    logits = vectors_ND() @ weights["weight_KC"].numpy().T + weights["bias_K"].numpy()
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(loaded.scores_NK(vectors_ND()), expected, atol=1e-6)


def test_an_untrained_linear_head_answers_its_start():
    start = HeadStart(torch.randn(3, DIMENSION), torch.tensor([0.5, -1.0, 2.0]), 7.0)
    vectors = torch.from_numpy(vectors_ND())
    assert torch.allclose(TaskHead(start, None)(vectors), 7.0 * vectors @ start.classifiers_KD.T + start.bias_K, atol=1e-6)


def test_weight_decay_alone_brings_a_head_back_to_its_start():
    head = make_head()
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.1, weight_decay=1.0)
    for _ in range(100):
        optimizer.zero_grad()
        sum(parameter.sum() * 0 for parameter in head.parameters()).backward()
        optimizer.step()
    assert head.change_KC.abs().max() < 1e-3


def test_a_head_of_another_space_is_refused_by_name(tmp_path: Path):
    write(tmp_path, make_head())
    with pytest.raises(UserError, match=f"reads vectors of space {SPACE}, got vectors of space ffff"):
        load_head(tmp_path, "ffff")


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        (np.zeros((2, DIMENSION + 1), np.float32), r"expected vectors of shape \(works, 6\), got \(2, 7\)"),
        (np.zeros(DIMENSION, np.float32), "shape"),
        (np.full((2, DIMENSION), np.nan, np.float32), "2 of 2 that are not"),
    ],
)
def test_vectors_that_are_none_of_the_space_are_refused(tmp_path: Path, vectors: np.ndarray, says: str):
    loaded = load_head(write(tmp_path, make_head()), SPACE)
    with pytest.raises(UserError, match=says):
        loaded.scores_NK(vectors)


def test_files_of_different_heads_are_refused(tmp_path: Path):
    write(tmp_path, make_head())
    tensors = load_file(tmp_path / HEAD_FILE)
    save_file({**tensors, "bias_K": tensors["bias_K"][:2].clone()}, tmp_path / HEAD_FILE)
    with pytest.raises(UserError, match=r"expected 3 classes in every file of the head, got \[2, 3\]"):
        load_head(tmp_path, SPACE)
