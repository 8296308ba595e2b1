import numpy as np

from reelspace.core.rng import rng
from reelspace.evaluate.figures import with_intervals


def test_a_figure_is_the_mean_with_an_interval_around_it_and_none_without_values():
    values = {"some": np.array([0.0, 1.0, np.nan, 1.0, 1.0]), "none": np.zeros(0), "undefined": np.array([np.nan])}
    figures = with_intervals(values, 0, "group")
    assert figures["some"] == 0.75
    low, high = figures["some_interval"]
    assert 0 <= low < 0.75 < high <= 1
    assert [figures[name] for name in ("none", "none_interval", "undefined", "undefined_interval")] == [None] * 4


def test_an_interval_does_not_depend_on_the_figures_beside_it():
    one, other = rng(0, "one").random(50), rng(0, "other").random(50)
    alone, both = with_intervals({"one": one}, 3, "group"), with_intervals({"other": other, "one": one}, 3, "group")
    assert both["one_interval"] == alone["one_interval"]
    assert with_intervals({"one": one}, 4, "group") != alone
