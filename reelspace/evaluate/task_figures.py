"""How well a task head does on works it was not trained on.

Legend: N works, K classes, R bootstrap rounds.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from reelspace.core.rng import rng
from reelspace.evaluate.figures import INTERVAL, Figures, with_intervals
from reelspace.evaluate.ranking import average_precision_Q

Floats = NDArray[np.float32]
_ROUNDS: Final = 500
_THRESHOLD: Final = 0.5


def task_figures(scores_NK: Floats, labels_NK: Floats, *, is_single: bool, seed: int) -> Figures:
    """Give the figures of a head's scores, each with its 95 % bootstrap interval; None where nothing is defined.

    Args:
        scores_NK: probabilities, as `TrainedHead.scores_NK` gives them.
        labels_NK: above 0 where a work has the class.

    Returns:
        `works`; `map`, the mean over classes of average precision (interval by class); `macro_f1`, the mean over the classes that a work
        has or that are given (interval by work); of one class each `accuracy` and `majority`, the share of the commonest class;
        of several labels decisions are scores from 0.5 on.

    Source: macro F1 as the mean of the classes' F1 (Opitz and Burst, 2019, equation 1); percentile bootstrap (Efron, 1979).
    """
    has_NK = labels_NK > 0
    if not len(has_NK):
        return {"works": 0}
    given_NK = _one_hot(scores_NK.argmax(axis=1), scores_NK.shape[1]) if is_single else scores_NK >= _THRESHOLD
    figures: Figures = {"works": len(has_NK)}
    if is_single:
        right_N = (given_NK & has_NK).any(axis=1).astype(np.float64)
        figures |= with_intervals({"accuracy": right_N}, seed, "task")
        figures["majority"] = float(has_NK.mean(axis=0).max())
    figures |= with_intervals({"map": _average_precision_K(scores_NK, has_NK)}, seed, "task")
    every_1N = np.arange(len(has_NK))[None, :]
    picks_RN = rng(seed, "bootstrap", "task", "macro_f1").integers(0, len(has_NK), size=(_ROUNDS, len(has_NK)))
    figures["macro_f1"] = float(_macro_f1_R(given_NK, has_NK, every_1N)[0])
    low, high = np.percentile(_macro_f1_R(given_NK, has_NK, picks_RN), [2.5, 97.5])
    figures["macro_f1" + INTERVAL] = (float(low), float(high))
    return figures


def _one_hot(column_N: NDArray[np.intp], num_classes: int) -> NDArray[np.bool_]:
    return np.asarray(column_N[:, None] == np.arange(num_classes)[None, :])


def _average_precision_K(scores_NK: Floats, has_NK: NDArray[np.bool_]) -> NDArray[np.float64]:
    order_KN = np.argsort(-scores_NK.T, axis=1, kind="stable")
    return average_precision_Q(np.take_along_axis(has_NK.T, order_KN, axis=1), has_NK.sum(axis=0))


def _macro_f1_R(given_NK: NDArray[np.bool_], has_NK: NDArray[np.bool_], picks_RN: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give macro F1 of some resamples of the works; classes that no work of one has or is given do not count in it."""
    num_works = len(has_NK)
    times_RN = np.stack([np.bincount(picks, minlength=num_works) for picks in picks_RN]).astype(np.float64)
    both_RK, given_RK, has_RK = (times_RN @ flags.astype(np.float64) for flags in (given_NK & has_NK, given_NK, has_NK))
    sums_RK = given_RK + has_RK
    f1_RK = np.divide(2 * both_RK, sums_RK, out=np.full_like(sums_RK, np.nan), where=sums_RK > 0)
    counted_R = np.maximum((sums_RK > 0).sum(axis=1), 1)
    return np.asarray(np.nansum(f1_RK, axis=1) / counted_R)
