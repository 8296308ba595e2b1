"""Scores, calibration and intervals."""

import numpy as np
import pytest

from reelspace.signals.intervals import share_of
from reelspace.signals.noise_rules import RULES
from reelspace.signals.scores import calibrate, choose_threshold, features_UF, scores_U, shipped_weights_F
from reelspace.signals.settings import HashtagSettings


def test_the_wilson_interval_has_its_known_values() -> None:
    share = share_of(np.array([True] * 8 + [False] * 2))
    assert (share.value, share.count) == (0.8, 10)
    assert share.low == pytest.approx(0.4902, abs=1e-4)
    assert share.high == pytest.approx(0.9433, abs=1e-4)
    assert share_of(np.array([True] * 5)).low == pytest.approx(0.5655, abs=1e-4)
    assert share_of(np.zeros(0, dtype=bool)).value is None


def test_the_threshold_is_the_lowest_that_meets_the_target() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    relevant = np.array([True, True, False, True, True, False])
    assert choose_threshold(scores, relevant, 0.8, 1) == (0.5, True)
    assert choose_threshold(scores, relevant, 0.9, 1) == (0.8, True)
    assert choose_threshold(scores, ~relevant, 0.9, 1) == (0.7, False)
    assert choose_threshold(scores, relevant, 0.9, 3) == (0.5, False)


def test_uses_of_equal_score_are_kept_together() -> None:
    assert choose_threshold(np.array([0.9, 0.5, 0.5]), np.array([True, True, False]), 0.9, 1) == (0.9, True)


def test_a_rule_without_opinion_adds_nothing_and_a_lexicon_decides() -> None:
    suspicion = np.full((2, len(RULES)), np.nan)
    suspicion[1, 0] = 1.0
    features = features_UF(suspicion, RULES)
    assert features[0].tolist() == [0.0] * len(RULES) + [1.0]
    scores = scores_U(features, shipped_weights_F(RULES))
    assert scores[0] == pytest.approx(1 / (1 + np.exp(-0.5)), abs=1e-5)
    assert scores[1] < 0.01


def _sample(num: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    draw = np.random.default_rng(2)
    relevant = draw.random(num) < 0.65
    suspicion = np.full((num, len(RULES)), np.nan)
    place = [rule.name for rule in RULES].index("context_disagreement")
    suspicion[:, place] = np.clip(np.where(relevant, 0.3, 0.8) + draw.normal(0, 0.15, num), 0, 1)
    return features_UF(suspicion, RULES), relevant, np.arange(num) % 5


def test_calibration_reaches_the_target_on_uses_it_has_not_seen() -> None:
    settings = HashtagSettings(target_precision=0.93)
    features, relevant, fold = _sample(4_000)
    calibration = calibrate(features[:400], relevant[:400], fold[:400], RULES, settings)
    assert calibration.fitted
    assert calibration.reached
    kept = scores_U(features[400:], calibration.weights_F) >= calibration.threshold
    assert relevant[400:][kept].mean() >= 0.9
    assert kept[relevant[400:]].mean() >= 0.8
    assert calibration.before.count == 400


def test_few_judgements_leave_everything_as_shipped() -> None:
    features, relevant, fold = _sample(20)
    calibration = calibrate(features, relevant, fold, RULES, HashtagSettings())
    assert not calibration.fitted
    assert calibration.reached is None
    assert calibration.threshold == HashtagSettings().min_score
    assert calibration.weights_F.tolist() == shipped_weights_F(RULES).tolist()


def test_an_unreachable_target_is_told() -> None:
    features, _, fold = _sample(200)
    relevant = np.random.default_rng(0).random(200) < 0.5
    assert calibrate(features, relevant, fold, RULES, HashtagSettings(target_precision=0.99)).reached is False


def test_judgements_do_not_move_the_weight_of_a_lexicon() -> None:
    features, relevant, fold = _sample(300)
    features[:50, 0] = -1.0  # fifty uses that the lexicon names and raters found relevant
    relevant[:50] = True
    calibration = calibrate(features, relevant, fold, RULES, HashtagSettings())
    assert calibration.weights_F[0] == RULES[0].weight
