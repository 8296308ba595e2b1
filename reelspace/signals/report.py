"""The report: what the signals gave and what each rule removed, as JSON values.

Legend: U uses of hashtags, L labels.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from reelspace.signals.audit import Audit
from reelspace.signals.coverage import coverage_of
from reelspace.signals.crowd import Crowd
from reelspace.signals.graph_picture import Picture, picture_of
from reelspace.signals.hashtags import TagUses
from reelspace.signals.label_graph import LabelGraph
from reelspace.signals.label_weights import LabelWeights
from reelspace.signals.noise_rules import RULES
from reelspace.signals.scores import SHIPPED_BIAS
from reelspace.signals.settings import SignalsSettings

_NUM_TOP = 25
_COUNT_BOUNDS = (1, 2, 3, 5, 10, 20, 50, 100, 1_000)
_QUERY_BOUNDS = (0, 1, 2, 3, 5, 10, 20)
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
    coverage: Mapping[str, Mapping[str, object]]
    searches: Mapping[str, object]
    comment_languages: Mapping[str, int] | None
    graph: Picture | None
    privacy: Sequence[Mapping[str, object]]


def report_of(
    crowd: Crowd,
    weights: LabelWeights,
    settings: SignalsSettings,
    *,
    graph: LabelGraph | None = None,
    audit: Audit | None = None,
    comment_languages: Mapping[str, int] | None = None,
) -> Report:
    """Tell what happened, figure by figure.

    Args:
        graph: of the labels by their rows in `crowd.labels`; None draws no picture.
        audit: of the files written before; the texts of the report are masked and counted by it too.
        comment_languages: different comments by language.
    """
    audit = audit or Audit()
    report = Report(
        as_of_us=crowd.as_of_us,
        funnels={name: [asdict(stage) for stage in stages] for name, stages in crowd.funnels.items()},
        hashtags=_hashtags(crowd, settings),
        rules=[asdict(rule) | {"flags_from": shipped.flags_from} for rule, shipped in zip(crowd.clean.yields, RULES, strict=True)],
        merges=[asdict(merge) for merge in crowd.merges],
        top_removed=_top_removed(crowd),
        top_kept=_top_kept(crowd),
        labels=_labels(crowd, weights),
        lexicon_versions=crowd.lexicon_versions,
        coverage=_coverage(crowd, settings),
        searches=_searches(crowd),
        comment_languages=comment_languages,
        graph=picture_of(graph, crowd.labels.texts, crowd.labels.num_works_L()) if graph else None,
        privacy=[],
    )
    masked = {name: audit.json("report", name, value) for name, value in report.items()}
    return cast(Report, masked | {"privacy": [asdict(row) for row in audit.rows()]})


def _coverage(crowd: Crowd, settings: SignalsSettings) -> dict[str, dict[str, object]]:
    """What all uses of hashtags cover, and what the kept ones do."""
    evidence, kept_U = crowd.clean.evidence, crowd.clean.kept_U
    uses = evidence.uses
    kept = TagUses(uses.work_U[kept_U], tuple(uses.raws[row] for row in np.flatnonzero(kept_U).tolist()), uses.tag_U[kept_U], uses.tags)
    seed = settings.contexts.seed
    return {
        name: coverage_of(crowd.works, part, evidence.contexts, seed).json() for name, part in (("all uses", uses), ("kept uses", kept))
    }


def _searches(crowd: Crowd) -> dict[str, object]:
    """The satisfied queries that are written, each asked by enough people."""
    num_works = Counter(query for queries in crowd.queries for query in queries)
    num_queries_V = np.array([len(queries) for queries in crowd.queries], dtype=np.float64)
    return {
        "num_pairs": int(num_queries_V.sum()),
        "num_queries": len(num_works),
        "queries_per_work": _histogram(num_queries_V, _QUERY_BOUNDS),
        "top": sorted(num_works.items(), key=lambda item: (-item[1], item[0]))[:_NUM_TOP],
    }


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
