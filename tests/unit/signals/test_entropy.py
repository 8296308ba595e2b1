"""Category entropy."""

import math

import numpy as np
import pytest

from reelspace.signals.entropy import category_spread


def test_spread_is_the_corrected_entropy_over_that_of_works() -> None:
    tag_U = np.array([0] * 8 + [1] * 8)
    category_U = np.array([0] * 8 + [0, 0, 1, 1, 2, 2, 3, 3])
    spread_T = category_spread(tag_U, category_U, 2, np.arange(4), shrinkage=0.0)
    assert spread_T.tolist() == [0.0, 1.0]
    lopsided = category_spread(np.zeros(4, dtype=np.int64), np.array([0, 0, 0, 1]), 1, np.arange(4), 0.0)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) + 1 / 8
    assert lopsided[0] == pytest.approx(entropy / math.log(4))


def test_a_single_use_is_judged_by_the_mean_of_all_tags() -> None:
    tag_U = np.array([0, *[1] * 50, *[2] * 50])
    category_U = np.array([3, *[0] * 50, *list(range(4)) * 12, 0, 1])
    spread_T = category_spread(tag_U, category_U, 3, np.arange(4), shrinkage=5.0)
    assert spread_T[1] < 0.1
    assert spread_T[2] > 0.9
    assert 0.35 < spread_T[0] < 0.55


def test_without_categories_there_is_no_opinion() -> None:
    assert np.isnan(category_spread(np.array([0]), np.array([-1]), 1, np.array([-1, -1]), 5.0)).all()
    assert np.isnan(category_spread(np.array([0]), np.array([0]), 1, np.array([0, 0]), 5.0)).all()
