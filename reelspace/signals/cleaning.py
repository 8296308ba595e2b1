"""Cleaning: every use of a hashtag gets its label, score, decision and reason.

Legend: U uses, R rules, J judged uses, T tags.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reelspace.signals.evidence import Evidence
from reelspace.signals.hashtags import TagUses
from reelspace.signals.intervals import Share, share_of
from reelspace.signals.noise_rules import RULES
from reelspace.signals.scores import Calibration, calibrate, features_UF, scores_U
from reelspace.signals.spellings import Merge, TagUsage, canonical_tags, find_merges
from reelspace.signals.tables import Judgements, Stage

KEPT = "kept"
LOW_SCORE = "low_score"


@dataclass(frozen=True, slots=True)
class RuleYield:
    """What one rule does: uses it has an opinion on, flags, flags alone, was the reason to remove; and how often judges agree."""

    name: str
    description: str
    known: int
    flagged: int
    flagged_alone: int
    removed: int
    weight: float
    precision: Share


@dataclass(frozen=True, slots=True)
class CleanTags:
    """The decisions on U uses, and what led to them. `evidence.uses` has the tags merged."""

    evidence: Evidence
    suspicion_UR: NDArray[np.float64]
    score_U: NDArray[np.float64]
    kept_U: NDArray[np.bool_]
    reasons: tuple[str, ...]
    calibration: Calibration
    yields: tuple[RuleYield, ...]

    def funnel(self) -> list[Stage]:
        """Uses left after each rule, in the order of the rules; a use is counted for the first rule that flags it."""
        removed = Counter(self.reasons)
        left = len(self.reasons)
        stages = [Stage("uses of hashtags", left)]
        for name in (*(rule.name for rule in RULES), LOW_SCORE):
            left -= removed[name]
            stages.append(Stage(name, left))
        return stages


def clean(evidence: Evidence, judgements: Judgements) -> CleanTags:
    """Run all rules, calibrate on the judged sample and decide."""
    uses, settings = evidence.uses, evidence.settings.hashtags
    suspicion_UR = np.column_stack([rule.suspicion(evidence) for rule in RULES]).reshape(len(uses.raws), len(RULES)).round(6)
    features = features_UF(suspicion_UR, RULES)
    judged_J, relevant_J = _judged(evidence, judgements)
    fold_J = evidence.works.ids_V[uses.work_U[judged_J]] % settings.num_folds
    calibration = calibrate(features[judged_J], relevant_J, fold_J, RULES, settings)
    score_U = scores_U(features, calibration.weights_F)
    kept_U = score_U >= calibration.threshold
    flags_UR = suspicion_UR >= np.array([rule.flags_from for rule in RULES])
    reasons = tuple(KEPT if kept else _first(flags) for kept, flags in zip(kept_U.tolist(), flags_UR, strict=True))
    yields = _yields(suspicion_UR, flags_UR, reasons, calibration, judged_J, relevant_J)
    return CleanTags(evidence, suspicion_UR, score_U, kept_U, reasons, calibration, yields)


def merge_spellings(evidence: Evidence, is_ordinary: Callable[[str], bool]) -> list[Merge]:
    """Find the tags that are one label; begging tags stay out of it. `is_ordinary` tells dictionary words."""
    uses = evidence.uses
    carried: list[set[int]] = [set() for _ in uses.tags]
    for work, tag in zip(uses.work_U.tolist(), uses.tag_U.tolist(), strict=True):
        carried[tag].add(work)
    said: list[set[int]] = [set() for _ in uses.tags]
    number = {tag: index for index, tag in enumerate(uses.tags)}
    for work, words in enumerate(evidence.said):
        for word in words:
            if word in number:
                said[number[word]].add(work)
    honest = np.flatnonzero(~evidence.is_begging_T)
    usage = TagUsage(
        tags=[uses.tags[tag] for tag in honest],
        num_works_T=evidence.num_works_T[honest],
        profiles_TK=evidence.sums_TK[honest],
        carried_by=[frozenset(carried[tag]) for tag in honest],
        said_by=[frozenset(said[tag]) for tag in honest],
        is_ordinary_T=np.array([is_ordinary(uses.tags[tag]) for tag in honest], dtype=bool),
    )
    return find_merges(usage, evidence.settings.spellings)


def with_merges(evidence: Evidence, merges: Sequence[Merge]) -> Evidence:
    """The same evidence with merged tags; the words of a label are those of all its spellings."""
    canonical = canonical_tags(merges)
    uses: TagUses = evidence.uses.merged(canonical)
    words: dict[str, dict[str, None]] = {tag: {} for tag in uses.tags}
    for tag, own in zip(evidence.uses.tags, evidence.words_of_tags, strict=True):
        words[canonical.get(tag, tag)].update(dict.fromkeys(own))
    return replace(evidence, uses=uses, words_of_tags=[tuple(words[tag]) for tag in uses.tags])


def _judged(evidence: Evidence, judgements: Judgements) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows of the judged uses and whether most raters found them relevant; a tie is not relevant."""
    relevant = {
        (video_id, tag): share > 0.5
        for video_id, tag, share in zip(judgements.video_ids_J.tolist(), judgements.tags, judgements.relevant_J.tolist(), strict=True)
    }
    ids = evidence.works.ids_V[evidence.uses.work_U].tolist()
    found = [(row, relevant[key]) for row, key in enumerate(zip(ids, evidence.uses.raws, strict=True)) if key in relevant]
    return np.array([row for row, _ in found], dtype=np.int64), np.array([value for _, value in found], dtype=bool)


def _first(flags_R: NDArray[np.bool_]) -> str:
    return RULES[int(np.argmax(flags_R))].name if flags_R.any() else LOW_SCORE


def _yields(
    suspicion_UR: NDArray[np.float64],
    flags_UR: NDArray[np.bool_],
    reasons: Sequence[str],
    calibration: Calibration,
    judged_J: NDArray[np.int64],
    relevant_J: NDArray[np.bool_],
) -> tuple[RuleYield, ...]:
    removed = Counter(reasons)
    num_flags_U = flags_UR.sum(axis=1)
    return tuple(
        RuleYield(
            name=rule.name,
            description=(rule.suspicion.__doc__ or "").splitlines()[0],
            known=int((~np.isnan(suspicion_UR[:, place])).sum()),
            flagged=int(flags_UR[:, place].sum()),
            flagged_alone=int((flags_UR[:, place] & (num_flags_U == 1)).sum()),
            removed=removed[rule.name],
            weight=float(calibration.weights_F[place]),
            precision=share_of(~relevant_J[flags_UR[judged_J, place]]),
        )
        for place, rule in enumerate(RULES)
    )
