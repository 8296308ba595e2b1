"""Scores: what all noise rules together say about a use of a hashtag, and from which score on it is believed.

A lexicon is a decision, so its weight is fixed. The other weights start as shipped (RULES) and move towards a judged sample only as far as
it is large (logistic regression with a normal prior around the shipped weights). The threshold is chosen on scores that every judged use
got from weights fitted without it.
Legend: U uses, J judged uses, F features (one per rule, and the bias).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelspace.signals.intervals import Share, share_of
from reelspace.signals.noise_rules import Rule
from reelspace.signals.settings import HashtagSettings

SHIPPED_BIAS = 0.5
_NEWTON_STEPS = 20
_ROUNDED_TO = 5
_MIN_KEPT = 20  # judged uses


@dataclass(frozen=True, slots=True)
class Calibration:
    """Weights and threshold in use, and what the judged sample says about them.

    `fitted` is False where the sample was too small and everything stays as shipped; `reached` says whether the target precision was
    met on the sample, None where it was not fitted.
    """

    weights_F: NDArray[np.float64]
    threshold: float
    fitted: bool
    reached: bool | None
    num_judged: int
    before: Share
    after: Share
    relevant_kept: Share


def features_UF(suspicion_UR: NDArray[np.float64], rules: Sequence[Rule]) -> NDArray[np.float64]:
    """Distance of each suspicion from neutral, 0 without opinion, and a last column of ones for the bias."""
    neutral_R = np.array([rule.neutral for rule in rules])
    return np.column_stack([np.nan_to_num(neutral_R - suspicion_UR, nan=0.0), np.ones(len(suspicion_UR))])


def shipped_weights_F(rules: Sequence[Rule]) -> NDArray[np.float64]:
    """The weights in RULES and the shipped bias."""
    return np.array([*(rule.weight for rule in rules), SHIPPED_BIAS])


def scores_U(features: NDArray[np.float64], weights_F: NDArray[np.float64]) -> NDArray[np.float64]:
    """The chance that a use is about its work, 0 to 1, rounded so that machines agree."""
    return np.asarray(_logistic((features * weights_F).sum(axis=1)).round(_ROUNDED_TO))


def calibrate(
    features_JF: NDArray[np.float64],
    relevant_J: NDArray[np.bool_],
    fold_J: NDArray[np.int64],
    rules: Sequence[Rule],
    settings: HashtagSettings,
) -> Calibration:
    """Fit weights and threshold to a judged sample.

    Args:
        features_JF: of the judged uses.
        fold_J: part of the sample each belongs to; uses of one work share a part.
    """
    shipped_F = shipped_weights_F(rules)
    enough = len(relevant_J) >= settings.min_judgements and 0 < int(relevant_J.sum()) < len(relevant_J)
    if not enough:
        held_out_J = scores_U(features_JF, shipped_F)
        return _calibration(shipped_F, settings.min_score, False, None, held_out_J, relevant_J)
    held_out_J = np.empty(len(relevant_J))
    for fold in np.unique(fold_J):
        out = fold_J == fold
        weights_F = _fit(features_JF[~out], relevant_J[~out], rules, settings.weight_pull)
        held_out_J[out] = scores_U(features_JF[out], weights_F)
    lowest, reached = choose_threshold(held_out_J, relevant_J, settings.target_precision, _MIN_KEPT)
    threshold = max(lowest, settings.min_score)  # what is more likely noise than not is never kept
    weights_F = _fit(features_JF, relevant_J, rules, settings.weight_pull).round(_ROUNDED_TO)
    return _calibration(weights_F, threshold, True, reached, held_out_J, relevant_J)


def choose_threshold(score_J: NDArray[np.float64], relevant_J: NDArray[np.bool_], target: float, min_kept: int) -> tuple[float, bool]:
    """Give the lowest score from which on at least the target share is relevant, and whether there is one.

    Only thresholds that keep `min_kept` judged uses count: a share of fewer says little. Without one that meets the target, the one
    with the best share is given.
    """
    order = np.argsort(-score_J, kind="stable")
    precision_J = np.cumsum(relevant_J[order]) / np.arange(1, len(order) + 1)
    ends_J = np.append(score_J[order][1:] < score_J[order][:-1], True)  # uses of equal score are kept together
    possible = np.flatnonzero(ends_J & (np.arange(1, len(order) + 1) >= min(min_kept, len(order))))
    met = possible[precision_J[possible] >= target]
    chosen = met[-1] if len(met) else possible[int(np.argmax(precision_J[possible]))]
    return float(score_J[order[chosen]]), len(met) > 0


def _fit(features_JF: NDArray[np.float64], relevant_J: NDArray[np.bool_], rules: Sequence[Rule], pull: float) -> NDArray[np.float64]:
    """Newton's method for the logistic loss plus pull / 2 * |relative change of weights|^2; weights of rules stay >= 0."""
    prior_F = shipped_weights_F(rules)
    weights_F = prior_F.copy()
    free = [place for place, rule in enumerate(rules) if not rule.is_fixed] + [len(rules)]
    pull_F = pull / np.maximum(np.abs(prior_F), 1.0) ** 2
    for _ in range(_NEWTON_STEPS):
        chance_J = _logistic(features_JF @ weights_F)
        gradient_F = features_JF.T @ (chance_J - relevant_J) + pull_F * (weights_F - prior_F)
        curvature_FF = (features_JF.T * (chance_J * (1 - chance_J))) @ features_JF + np.diag(pull_F)
        weights_F[free] -= np.linalg.solve(curvature_FF[np.ix_(free, free)], gradient_F[free])
        weights_F[:-1] = np.maximum(weights_F[:-1], 0.0)
    return weights_F


def _calibration(
    weights_F: NDArray[np.float64],
    threshold: float,
    fitted: bool,
    reached: bool | None,
    score_J: NDArray[np.float64],
    relevant_J: NDArray[np.bool_],
) -> Calibration:
    kept_J = score_J >= threshold
    return Calibration(
        weights_F=weights_F,
        threshold=threshold,
        fitted=fitted,
        reached=reached,
        num_judged=len(relevant_J),
        before=share_of(relevant_J),
        after=share_of(relevant_J[kept_J]),
        relevant_kept=share_of(kept_J[relevant_J]),
    )


def _logistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -500, 500))))
