"""Propensities on simulated crowds whose rates are known."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from reelspace.core.rng import rng
from reelspace.signals.label_propensities import (
    label_masks,
    label_propensities,
    negative_weights,
    propensity_by_frequency,
    propensity_by_overlap,
)
from reelspace.signals.settings import WeightSettings
from reelspace.signals.vocabulary import Labels

NUM_WORKS = 20_000
# share of works the label fits, and the rates at which such a work gets it from hashtags and from queries
RATES = [(0.10, 0.30, 0.50), (0.05, 0.10, 0.60), (0.20, 0.70, 0.20), (0.30, 0.15, 0.15), (0.02, 0.40, 0.40), (0.02, 0.90, 0.80)]


def _labels(tags_VL: NDArray[np.bool_], queries_VL: NDArray[np.bool_]) -> Labels:
    work_E, label_E = np.nonzero(tags_VL | queries_VL)
    num = tags_VL.shape[1]
    none = np.zeros(0, dtype=np.int64)
    return Labels(
        texts=tuple(f"label{label}" for label in range(num)),
        num_tag_works_L=tags_VL.sum(axis=0).astype(np.int64),
        num_query_works_L=queries_VL.sum(axis=0).astype(np.int64),
        first_us_L=np.zeros(num, dtype=np.int64),
        work_E=work_E,
        label_E=label_E,
        weight_E=np.ones(len(work_E), dtype=np.float32),
        from_tags_E=tags_VL[work_E, label_E],
        from_queries_E=queries_VL[work_E, label_E],
        evidence_E=("{}",) * len(work_E),
        entry_S=none,
        time_us_S=none,
    )


def _crowd(seed: int) -> tuple[NDArray[np.bool_], Labels]:
    """Which label fits which work, and what two independent sources said."""
    random = rng(seed, "crowd")
    fits, tags, queries = np.array(RATES).T
    fits_VL = random.random((NUM_WORKS, len(RATES))) < fits
    tags_VL, queries_VL = (fits_VL & (random.random(fits_VL.shape) < rate) for rate in (tags, queries))
    return fits_VL, _labels(tags_VL, queries_VL)


@pytest.mark.parametrize("seed", range(5))
def test_the_overlap_of_two_sources_recovers_the_rate_within_a_fifth_of_it(seed: int) -> None:
    _, labels = _crowd(seed)
    found = label_propensities(labels, NUM_WORKS, WeightSettings())
    assert found.method_L == ("overlap",) * len(RATES)
    truth = [1 - (1 - tags) * (1 - queries) for _, tags, queries in RATES]
    # the overlap of 40 works and more has a relative error of at most 1 / sqrt(40) = 0.16; six labels together have less
    assert np.allclose(found.propensity_L, truth, rtol=0.2)
    assert np.abs(found.propensity_L / truth - 1).mean() < 0.08


@pytest.mark.parametrize("seed", range(3))
def test_the_weight_of_a_negative_is_the_share_of_works_without_the_label_that_it_does_not_fit(seed: int) -> None:
    fits_VL, labels = _crowd(seed)
    weights = negative_weights(label_propensities(labels, NUM_WORKS, WeightSettings()), NUM_WORKS)
    has_VL = np.zeros_like(fits_VL)
    has_VL[labels.work_E, labels.label_E] = True
    truth = [(~fits_VL[~has_VL[:, label], label]).mean() for label in range(len(RATES))]
    assert min(truth) < 0.8  # an absent label is often missing, not negative
    assert np.allclose(weights, truth, atol=0.05)


def test_the_overlap_estimate_is_chapmans() -> None:
    num_both, num_tags, num_queries = (np.array([value], dtype=np.int64) for value in (9, 39, 49))
    relevant = 40 * 50 / 10 - 1
    assert propensity_by_overlap(num_both, num_tags, num_queries, 10_000)[0] == pytest.approx((39 + 49 - 9) / relevant)
    assert propensity_by_overlap(num_both, num_tags, num_queries, 100)[0] == pytest.approx(79 / 100)  # no more relevant works than works
    nothing = np.zeros(1, dtype=np.int64)
    assert propensity_by_overlap(nothing, nothing, nothing, 10)[0] == 0
    same = np.array([50], dtype=np.int64)
    assert propensity_by_overlap(same, same, same, 10_000)[0] == pytest.approx(1)


def test_the_frequency_estimate_is_that_of_jain_and_others() -> None:
    num = np.array([1, 10, 1_000], dtype=np.int64)
    scale = (math.log(5_000) - 1) * 2.5**0.55
    wanted = [1 / (1 + scale * math.exp(-0.55 * math.log(n + 1.5))) for n in (1, 10, 1_000)]
    found = propensity_by_frequency(num, 5_000, 0.55, 1.5)
    assert found.tolist() == pytest.approx(wanted)
    assert (np.diff(found) > 0).all()
    assert found[0] == pytest.approx(1 / math.log(5_000))  # what makes the scale: a label seen once
    assert propensity_by_frequency(num[:1], 1, 0.55, 1.5).tolist() == [1.0]  # so few works that the curve has no meaning


def test_labels_without_enough_overlap_fall_back_to_the_curve() -> None:
    tags_VL = np.zeros((100, 2), dtype=bool)
    queries_VL = np.zeros((100, 2), dtype=bool)
    tags_VL[:20] = True
    queries_VL[15:40, 0] = True  # 5 works have label 0 from both
    queries_VL[16:40, 1] = True  # 4 works have label 1 from both
    found = label_propensities(_labels(tags_VL, queries_VL), 100, WeightSettings(min_both_works=5))
    assert found.method_L == ("overlap", "frequency")
    assert (found.num_both_L.tolist(), found.num_tags_L.tolist(), found.num_queries_L.tolist()) == ([5, 4], [20, 20], [25, 24])
    assert found.propensity_L[1] == pytest.approx(propensity_by_frequency(np.array([40]), 100, 0.55, 1.5)[0], abs=1e-5)


def test_works_without_a_signal_are_all_missing() -> None:
    tags_VL, queries_VL = np.zeros((4, 3), dtype=bool), np.zeros((4, 3), dtype=bool)
    tags_VL[0, 1] = tags_VL[1, 0] = queries_VL[1, 2] = queries_VL[3, 2] = True
    masks = label_masks(_labels(tags_VL, queries_VL), 4)
    assert masks.has_tags_V.tolist() == [True, True, False, False]
    assert masks.has_queries_V.tolist() == [False, True, False, True]
    assert masks.all_missing_V().tolist() == [False, False, True, False]
