"""The learning rate: warm-up, peak, cosine."""

import math

import pytest

from reelspace.train.schedule import learning_rate
from reelspace.train.settings import OptimizerSettings

SETTINGS = OptimizerSettings(learning_rate=1e-3, warmup_share=0.1)


def test_the_rate_rises_linearly_to_the_peak_and_falls_as_a_cosine():
    rates = [learning_rate(step, 100, SETTINGS) for step in range(100)]
    assert rates[:10] == pytest.approx([1e-4 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(1e-3)
    assert rates[55] == pytest.approx(0.5e-3)
    assert rates[99] == pytest.approx(1e-3 * (1 + math.cos(math.pi * 89 / 90)) / 2)
    assert min(rates) > 0


def test_without_warm_up_the_first_step_has_the_peak_rate():
    assert learning_rate(0, 1, OptimizerSettings(learning_rate=1e-3, warmup_share=0)) == 1e-3
    assert learning_rate(0, 10, OptimizerSettings(learning_rate=1e-3, warmup_share=0)) == 1e-3
