"""Label weights, against plain counting; and that the future does not change the past."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from reelspace.core.rng import rng
from reelspace.signals.label_weights import LabelWeights, entry_weights, label_weights
from reelspace.signals.settings import WeightSettings
from reelspace.signals.vocabulary import Labels

DAY_US = 86_400_000_000
ENTRIES = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (3, 2)]  # (work, label)
Days = list[tuple[float, ...]]


def _labels(entries: list[tuple[int, int]], days: Days, num_labels: int = 0) -> Labels:
    """Entries (work, label) with the days of their signals."""
    label_E = np.array([label for _, label in entries], dtype=np.int64)
    num = max(num_labels, int(label_E.max(initial=-1)) + 1)
    zeros_L = np.zeros(num, dtype=np.int64)
    signals = [(entry, round(day * DAY_US)) for entry, found in enumerate(days) for day in found]
    return Labels(
        texts=tuple(f"label{label}" for label in range(num)),
        num_tag_works_L=zeros_L,
        num_query_works_L=zeros_L,
        first_us_L=zeros_L,
        work_E=np.array([work for work, _ in entries], dtype=np.int64),
        label_E=label_E,
        weight_E=np.linspace(0.5, 1, len(entries)).astype(np.float32),
        from_tags_E=np.ones(len(entries), dtype=bool),
        from_queries_E=np.zeros(len(entries), dtype=bool),
        evidence_E=("{}",) * len(entries),
        entry_S=np.array([entry for entry, _ in signals], dtype=np.int64),
        time_us_S=np.array([time_us for _, time_us in signals], dtype=np.int64),
    )


def _stream() -> tuple[list[tuple[int, int]], Days]:
    """90 days of works; label l is first used on day 10 l, so later labels are newer."""
    random = rng(3, "stream")
    entries: list[tuple[int, int]] = []
    days: Days = []
    for work in range(300):
        born = work * 0.3
        for label in range(9):
            if born >= 10 * label and random.random() < 0.35:
                entries.append((work, label))
                later = born + random.exponential(20.0, size=int(random.integers(0, 3)))
                days.append((born, *sorted(later.tolist())))
    return entries, days


def _cut(entries: list[tuple[int, int]], days: Days, until: float) -> Labels:
    """The labels of data that end at a day."""
    kept = [(entry, tuple(day for day in found if day <= until)) for entry, found in zip(entries, days, strict=True)]
    kept = [(entry, found) for entry, found in kept if found]
    return _labels([entry for entry, _ in kept], [found for _, found in kept], num_labels=9)


def _windows_by_loops(entries: list[tuple[int, int]], days: Days, until: float, window: float, half_life: float) -> NDArray[np.float64]:
    """tf * idf * freshness of each label, its sets built one signal at a time; weights before scaling."""
    past = [(entry, [day for day in found if day <= until]) for entry, found in zip(entries, days, strict=True)]
    num_windows = max(math.floor((until - day) / window) for _, found in past for day in found) + 1
    result = np.zeros(9)
    for label in range(9):
        mine = [found for (_, other), found in past if other == label and found]
        seen = {math.floor((until - day) / window) for found in mine for day in found}
        now = sum(any(until - day < window for day in found) for found in mine)
        fresh = [2 ** (-(until - max(found)) / half_life) for found in mine]
        result[label] = now * math.log(num_windows / len(seen)) * sum(fresh) / len(fresh) if mine else 0
    return result


def test_weights_are_idf_times_freshness_with_mean_one() -> None:
    last_days: Days = [(60.0,), (60.0,), (30.0,), (30.0,), (60.0,), (0.0,), (60.0,)]
    weights = label_weights(_labels(ENTRIES, last_days), 60 * DAY_US, WeightSettings(half_life_days=30.0))
    fresh = [(1 + 0.5 + 0.25) / 3, (1 + 1) / 2, (0.5 + 1) / 2]
    idf = [np.log(4 / 3), np.log(4 / 2), np.log(4 / 2)]
    product = np.array(fresh) * np.array(idf)
    assert np.allclose(weights.freshness_L, fresh, atol=1e-5)
    assert np.allclose(weights.idf_L, idf, atol=1e-5)
    assert np.allclose(weights.weight_L, product / product.mean(), atol=1e-4)
    assert weights.tf_L.tolist() == [1, 2, 1]


def test_windows_as_documents_is_the_count_now_times_the_rarity_over_windows() -> None:
    entries, days = _stream()
    settings = WeightSettings(mode="windows_as_documents", window_days=5.0, half_life_days=20.0, min_weight=0.0, max_weight=100.0)
    weights = label_weights(_labels(entries, days), 85 * DAY_US, settings)
    product = _windows_by_loops(entries, days, 85.0, 5.0, 20.0)
    assert product.max() > 0
    assert np.allclose(weights.weight_L, product / product.mean(), atol=1e-4)


def test_of_two_labels_as_frequent_now_the_newer_weighs_more_by_windows_only() -> None:
    # label 0 on one work in each of 10 weeks and on 4 now, label 1 on 4 works now, label 2 keeps the windows going
    entries = [(work, 0) for work in range(14)] + [(work, 1) for work in range(14, 18)] + [(work, 2) for work in range(18, 22)]
    now: Days = [(70.0,)] * 4
    days: Days = [(7.0 * week,) for week in range(10)] + now + now + [(0.0,)] * 4
    found = label_weights(_labels(entries, days), 70 * DAY_US, WeightSettings(mode="windows_as_documents", half_life_days=1e9))
    assert found.tf_L.tolist() == [4, 4, 0]
    assert found.weight_L[1] > 2 * found.weight_L[0]
    assert found.weight_L.min() == pytest.approx(0.01)  # a label not seen now stays in the loss


@pytest.mark.parametrize("mode", ["works_as_documents", "windows_as_documents"])
@pytest.mark.parametrize("until", [12.0, 40.0, 71.5])
def test_weights_of_a_day_are_those_of_data_that_end_on_it(mode: str, until: float) -> None:
    entries, days = _stream()
    settings = WeightSettings.model_validate({"mode": mode})
    whole, cut = (
        label_weights(labels, round(until * DAY_US), settings) for labels in (_labels(entries, days, 9), _cut(entries, days, until))
    )
    assert any(day > until for found in days for day in found)
    for name in ("idf_L", "freshness_L", "weight_L", "tf_L"):
        assert getattr(whole, name).tolist() == getattr(cut, name).tolist(), name
    unborn = [label for label in range(9) if 10 * label > until]
    assert whole.weight_L[unborn].tolist() == [0.0] * len(unborn)


@pytest.mark.parametrize("mode", ["works_as_documents", "windows_as_documents"])
def test_weights_stay_within_bounds_and_have_mean_one(mode: str) -> None:
    entries, days = _stream()
    settings = WeightSettings.model_validate({"mode": mode, "min_weight": 0.4, "max_weight": 1.5, "half_life_days": 5.0})
    weight_L = label_weights(_labels(entries, days), 90 * DAY_US, settings).weight_L
    assert weight_L.mean() == pytest.approx(1, abs=1e-4)
    assert (weight_L.min(), weight_L.max()) == (pytest.approx(0.4), pytest.approx(1.5))


def test_labels_that_say_nothing_share_what_a_few_at_the_bound_leave() -> None:
    # label 0 alone is rarer than all works
    entries = [(0, 0), *((work, label) for work in range(20) for label in range(1, 30))]
    labels = _labels(sorted(entries), [(0.0,)] * len(entries))
    weight_L = label_weights(labels, 0, WeightSettings(max_weight=4.0)).weight_L
    assert weight_L.tolist() == pytest.approx([4.0] + [26 / 29] * 29, abs=1e-5)


def test_old_signals_do_not_overflow_or_vanish() -> None:
    old = label_weights(_labels([(0, 0), (1, 0), (2, 1)], [(0.0,), (0.0,), (1e5,)]), round(1e5) * DAY_US, WeightSettings())
    assert np.isfinite(old.weight_L).all()
    assert old.weight_L.min() > 0


def test_a_single_label_and_no_labels_have_weights() -> None:
    assert label_weights(_labels([(0, 0)], [(0.0,)]), 0, WeightSettings()).weight_L.tolist() == [1.0]
    for mode in ("works_as_documents", "windows_as_documents"):
        assert label_weights(_labels([], []), 0, WeightSettings.model_validate({"mode": mode})).weight_L.shape == (0,)


def test_the_weight_of_a_label_on_a_work_is_its_weight_times_how_sure_the_entry_is() -> None:
    labels = _labels(ENTRIES, [(0.0,)] * 7)
    zeros = np.zeros(3, dtype=np.float32)
    weights = LabelWeights(zeros, zeros, np.array([0.5, 2.0, 1.0], dtype=np.float32), zeros.astype(np.int64))
    wanted = [{0: 0.5, 1: 2.0, 2: 1.0}[label] * sure for (_, label), sure in zip(ENTRIES, np.linspace(0.5, 1, 7), strict=True)]
    assert np.allclose(entry_weights(labels, weights), wanted)
