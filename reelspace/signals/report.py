"""The report: what the signals gave and what each rule removed, as JSON values.

Legend: U uses of hashtags, L labels.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from reelspace.signals.crowd import Crowd
from reelspace.signals.label_weights import LabelWeights
from reelspace.signals.noise_rules import RULES
from reelspace.signals.scores import SHIPPED_BIAS
from reelspace.signals.settings import SignalsSettings

_NUM_TOP = 25
_COUNT_BOUNDS = (1, 2, 3, 5, 10, 20, 50, 100, 1_000)
_FRESHNESS_BOUNDS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)


class Report(TypedDict):
    """What report.json holds."""

    as_of_us: int
    funnels: Mapping[str, Sequence[Mapping[str, object]]]
    hashtags: Mapping[str, object]
    rules: Sequence[Mapping[str, object]]
    merges: Sequence[Mapping[str, object]]
    top_removed: Sequence[tuple[str, int, str]]
    top_kept: Sequence[tuple[str, int]]
    labels: Mapping[str, object]
    lexicon_versions: Mapping[str, int]


def report_of(crowd: Crowd, weights: LabelWeights, settings: SignalsSettings) -> Report:
    """Tell what happened, figure by figure."""
    return Report(
        as_of_us=crowd.as_of_us,
        funnels={name: [asdict(stage) for stage in stages] for name, stages in crowd.funnels.items()},
        hashtags=_hashtags(crowd, settings),
        rules=[asdict(rule) | {"flags_from": shipped.flags_from} for rule, shipped in zip(crowd.clean.yields, RULES, strict=True)],
        merges=[asdict(merge) for merge in crowd.merges],
        top_removed=_top_removed(crowd),
        top_kept=_top_kept(crowd),
        labels=_labels(crowd, weights),
        lexicon_versions=crowd.lexicon_versions,
    )


def _hashtags(crowd: Crowd, settings: SignalsSettings) -> dict[str, object]:
    calibration, kept_U = crowd.clean.calibration, crowd.clean.kept_U
    return {
        "num_uses": len(kept_U),
        "num_kept": int(kept_U.sum()),
        "num_judged": calibration.num_judged,
        "precision_before": asdict(calibration.before),
        "precision_after": asdict(calibration.after),
        "relevant_kept": asdict(calibration.relevant_kept),
        "threshold": calibration.threshold,
        "target_precision": settings.hashtags.target_precision,
        "target_reached": calibration.reached,
        "weights_fitted": calibration.fitted,
        "bias": float(calibration.weights_F[-1]) if len(calibration.weights_F) else SHIPPED_BIAS,
    }


def _top_removed(crowd: Crowd) -> list[tuple[str, int, str]]:
    clean, uses = crowd.clean, crowd.clean.evidence.uses
    removed = Counter((uses.tags[int(uses.tag_U[row])], clean.reasons[row]) for row in np.flatnonzero(~clean.kept_U).tolist())
    return [(tag, count, reason) for (tag, reason), count in sorted(removed.items(), key=lambda item: (-item[1], item[0]))[:_NUM_TOP]]


def _top_kept(crowd: Crowd) -> list[tuple[str, int]]:
    clean, uses = crowd.clean, crowd.clean.evidence.uses
    kept = Counter(uses.tags[int(uses.tag_U[row])] for row in np.flatnonzero(clean.kept_U).tolist())
    return sorted(kept.items(), key=lambda item: (-item[1], item[0]))[:_NUM_TOP]


def _labels(crowd: Crowd, weights: LabelWeights) -> dict[str, object]:
    labels = crowd.labels
    num_works_L = labels.num_works_L()
    return {
        "num_labels": len(labels.texts),
        "num_from_tags": int((labels.num_tag_works_L > 0).sum()),
        "num_from_queries": int((labels.num_query_works_L > 0).sum()),
        "num_entries": len(labels.work_E),
        "works_per_label": _histogram(num_works_L.astype(np.float64), _COUNT_BOUNDS),
        "freshness": _histogram(weights.freshness_L.astype(np.float64), _FRESHNESS_BOUNDS),
        "top": [(labels.texts[label], int(num_works_L[label])) for label in range(min(_NUM_TOP, len(labels.texts)))],
    }


def _histogram(values_L: NDArray[np.float64], bounds: Sequence[float]) -> list[tuple[float, int]]:
    """Count the values from each bound to the next; the last has no end."""
    place_L = np.searchsorted(np.array(bounds), values_L, side="right") - 1
    return [(bound, int((place_L == place).sum())) for place, bound in enumerate(bounds)]
