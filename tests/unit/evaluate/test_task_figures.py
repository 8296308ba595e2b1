"""Figures of a task head against values worked out by hand and against plain loops."""

import numpy as np
import pytest

from reelspace.evaluate.task_figures import task_figures

LABELS = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
SCORES = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.5, 0.1, 0.4]], dtype=np.float32)


def test_figures_of_one_class_each_are_those_worked_out_by_hand():
    found = task_figures(SCORES, LABELS, is_single=True, seed=0)
    # Given: a, b, b, a. F1: a 2*1/(2+2), b 2*1/(2+1), c 0. Average precision: a by scores .7 .5 .3 .1 is (1 + 2/3) / 2, b 1, c 1.
    assert (found["works"], found["accuracy"], found["majority"]) == (4, 0.5, 0.5)
    assert found["macro_f1"] == pytest.approx((0.5 + 2 / 3 + 0) / 3)
    assert found["map"] == pytest.approx((5 / 6 + 1 + 1) / 3)


def test_several_labels_are_decided_at_one_half_and_have_no_accuracy():
    labels = np.array([[1, 1], [0, 1], [0, 0]], dtype=np.float32)
    scores = np.array([[0.9, 0.4], [0.6, 0.7], [0.2, 0.1]], dtype=np.float32)
    found = task_figures(scores, labels, is_single=False, seed=0)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert "accuracy" not in found


def test_a_class_that_nobody_has_or_is_given_does_not_count():
    found = task_figures(SCORES[:1], LABELS[:1], is_single=True, seed=0)
    assert (found["macro_f1"], found["map"]) == (1.0, 1.0)


def test_intervals_hold_their_figure_and_are_those_of_plain_resampling():
    draw = np.random.default_rng(1)
    labels = np.eye(3, dtype=np.float32)[draw.integers(0, 3, 200)]
    scores = (labels + draw.random((200, 3)) * 1.6).astype(np.float32)
    found = task_figures(scores, labels, is_single=True, seed=0)
    given, has = scores.argmax(axis=1), labels.argmax(axis=1)

    def macro_f1(rows: np.ndarray) -> float:
        values = []
        for number in range(3):
            both = ((given[rows] == number) & (has[rows] == number)).sum()
            values.append(2 * both / ((given[rows] == number).sum() + (has[rows] == number).sum()))
        return float(np.mean(values))

    assert found["macro_f1"] == pytest.approx(macro_f1(np.arange(200)))
    low, high = found["macro_f1_interval"]
    plain = np.percentile([macro_f1(draw.integers(0, 200, 200)) for _ in range(500)], [2.5, 97.5])
    assert (low, high) == pytest.approx(tuple(plain), abs=0.02)
    for name in ("accuracy", "map", "macro_f1"):
        low, high = found[f"{name}_interval"]
        assert low <= found[name] <= high


def test_no_work_has_no_figure():
    assert task_figures(SCORES[:0], LABELS[:0], is_single=True, seed=0) == {"works": 0}
