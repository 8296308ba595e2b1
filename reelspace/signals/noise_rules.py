"""Noise rules: each looks at every use of a hashtag and says how suspicious it is.

A rule is a function of the evidence that gives, per use, a suspicion from 0 (clearly about the work) to 1 (clearly not), or nan where it
has no opinion. To add one: write the function, add its line to RULES; the report shows its yield by itself.
Legend: V works, U uses, T tags, K dimension of contexts.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reelspace.signals import agreement
from reelspace.signals.contexts import Contexts, unit
from reelspace.signals.entropy import category_spread
from reelspace.signals.evidence import Evidence
from reelspace.signals.normal_forms import has_han

_MIN_BURST_WORKS: Final = 4
_NAME_WORDS: Final = re.compile(r"\w+")
_LEAST_SHARE: Final = 0.01  # works that fit better than this share leave no doubt


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, from which suspicion on it alone flags a use, how it enters the score, and whether judgements may change its weight.

    score = logistic(bias + sum of weight * (neutral - suspicion)); a rule without opinion adds nothing.
    """

    name: str
    suspicion: Callable[[Evidence], NDArray[np.float64]]
    flags_from: float
    weight: float
    neutral: float
    is_fixed: bool = False


def blocklist(evidence: Evidence) -> NDArray[np.float64]:
    """The tag is in the lexicon of begging for traffic."""
    found = [tag in evidence.lexicons.begging for tag in evidence.uses.tags]
    return np.array(found, dtype=np.float64)[evidence.uses.tag_U]


def begging_pattern(evidence: Evidence) -> NDArray[np.float64]:
    """A pattern of begging for traffic occurs in the tag."""
    found = [evidence.lexicons.begging_pattern.search(tag) is not None for tag in evidence.uses.tags]
    return np.array(found, dtype=np.float64)[evidence.uses.tag_U]


def platform_promotion(evidence: Evidence) -> NDArray[np.float64]:
    """The tag names a programme, campaign, sale or tool of the platform."""
    found = [evidence.lexicons.promotion_pattern.search(tag) is not None for tag in evidence.uses.tags]
    return np.array(found, dtype=np.float64)[evidence.uses.tag_U]


def category_entropy(evidence: Evidence) -> NDArray[np.float64]:
    """The tag is spread over categories as works are."""
    uses = evidence.uses
    shrinkage = evidence.settings.hashtags.entropy_shrinkage
    return category_spread(uses.tag_U, evidence.category_V[uses.work_U], len(uses.tags), evidence.category_V, shrinkage)[uses.tag_U]


def context_disagreement(evidence: Evidence) -> NDArray[np.float64]:
    """The work's own words, queries and comments do not fit what the tag is used for by other creators."""
    return _suspicion_of_share(evidence.share_that_fits_U)


def embedding_disagreement(evidence: Evidence) -> NDArray[np.float64]:
    """What a model sees and hears in the work is unlike what it finds in the tag's works by other creators."""
    uses = evidence.uses
    if evidence.embeddings_VD is None:
        return np.full(len(uses.work_U), np.nan)
    seen = Contexts(evidence.embeddings_VD, {}, np.zeros((0, evidence.embeddings_VD.shape[1])))
    sums_TD = agreement.profiles_TK(uses.tag_U, uses.work_U, len(uses.tags), seen)
    elsewhere_UD = agreement.elsewhere_UK(uses.tag_U, uses.work_U, evidence.works.creators_V, sums_TD, seen)
    return _suspicion_of_share(agreement.share_that_fits_U(elsewhere_UD.round(6), uses.work_U, seen, evidence.settings.contexts))


def said_around(evidence: Evidence) -> NDArray[np.float64]:
    """Author, searchers or commenters say the tag around this work: speaks for it, and its absence says nothing."""
    uses = evidence.uses
    said = [
        any(word in evidence.said[work] for word in evidence.words_of_tags[tag])
        for work, tag in zip(uses.work_U.tolist(), uses.tag_U.tolist(), strict=True)
    ]
    return np.where(np.array(said, dtype=bool), 0.0, np.nan)


def named_by_category(evidence: Evidence) -> NDArray[np.float64]:
    """A category of the work names the tag or a word of it: speaks for it, and its absence says nothing."""
    uses, works = evidence.uses, evidence.works
    known: dict[tuple[int, tuple[str, ...]], bool] = {}
    for work, tag in zip(uses.work_U.tolist(), uses.tag_U.tolist(), strict=True):
        key = (tag, works.categories[work])
        if key not in known:
            known[key] = _is_named(uses.tags[tag], evidence.words_of_tags[tag], works.categories[work])
    named = [known[tag, works.categories[work]] for work, tag in zip(uses.work_U.tolist(), uses.tag_U.tolist(), strict=True)]
    return np.where(np.array(named, dtype=bool), 0.0, np.nan)


def _is_named(tag: str, words: Sequence[str], names: Sequence[str]) -> bool:
    """Chinese names hold words without spaces between; other names are compared word by word."""
    for name in names:
        if has_han(name):
            if name in tag or any(len(word) > 1 and word in name for word in words):
                return True
        elif not {word for word in words if len(word) > 1}.isdisjoint(_NAME_WORDS.findall(name.casefold())):
            return True
    return False


def category_mismatch(evidence: Evidence) -> NDArray[np.float64]:
    """The tag's works by other creators are of other categories than this work, compared with how common its category is."""
    uses, works, prior_works = evidence.uses, evidence.works, evidence.settings.hashtags.category_prior_works
    groups_V = np.where(works.creators_V >= 0, works.creators_V, -1 - np.arange(len(works.creators_V)))
    out_U = np.full(len(uses.work_U), np.nan)
    for level in range(max((len(names) for names in works.categories), default=0)):
        category_V = _numbered([names[level] if len(names) > level else "" for names in works.categories])
        known_U = category_V[uses.work_U] >= 0
        share_V = _shares(category_V)
        same_U, others_U = _others_like(uses.tag_U, uses.work_U, category_V, groups_V)
        chance_U = share_V[uses.work_U]
        lift_U = np.log((same_U + prior_works * chance_U) / (others_U + prior_works) / np.maximum(chance_U, 1e-9))
        # 0 where the tag's works are this category alone, 1/2 where they are as mixed as all works, 1 where none is like it.
        suspicion_U = 1.0 / (1.0 + np.exp(np.clip(lift_U, -50, 50)))
        informed_U = known_U & (others_U > 0)
        out_U = np.where(informed_U, np.fmin(out_U, suspicion_U), out_U)
    return out_U


def _numbered(names: Sequence[str]) -> NDArray[np.int64]:
    number = {name: place for place, name in enumerate(sorted(set(names) - {""}))}
    return np.array([number.get(name, -1) for name in names], dtype=np.int64)


def _shares(category_V: NDArray[np.int64]) -> NDArray[np.float64]:
    """Per work, the share of categorised works that have its category."""
    counts = np.bincount(category_V[category_V >= 0], minlength=1)
    return np.asarray(np.where(category_V >= 0, counts[np.maximum(category_V, 0)] / max(int(counts.sum()), 1), 1.0))


def _others_like(
    tag_U: NDArray[np.int64], work_U: NDArray[np.int64], category_V: NDArray[np.int64], groups_V: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per use, the categorised works of the tag by other creators that have this work's category, and all of them."""
    category_U, group_U = category_V[work_U], groups_V[work_U]
    known_U = (category_U >= 0).astype(np.float64)

    def total(*keys: NDArray[np.int64]) -> NDArray[np.float64]:
        _, place_U = np.unique(np.stack(keys, axis=1), axis=0, return_inverse=True)
        place_U = place_U.reshape(-1)
        return np.asarray(np.bincount(place_U, weights=known_U)[place_U])

    same_U = total(tag_U, category_U) - total(tag_U, category_U, group_U)
    return same_U, total(tag_U) - total(tag_U, group_U)


def foreign_to_other_tags(evidence: Evidence) -> NDArray[np.float64]:
    """The work's other tags are about something else: most tags of the corpus would go better with them."""
    uses, profile_UK = evidence.uses, unit(evidence.profile_UK)
    profile_UK = np.where(evidence.is_begging_T[uses.tag_U][:, None], 0.0, profile_UK)
    sums_VK = np.zeros_like(evidence.contexts.works_VK)
    np.add.at(sums_VK, uses.work_U, profile_UK)
    others_UK = unit((sums_VK[uses.work_U] - profile_UK).round(6))
    tags_TK = np.zeros((len(uses.tags), profile_UK.shape[1]))
    np.add.at(tags_TK, uses.tag_U, profile_UK)
    tags_TK = unit(tags_TK[(tags_TK != 0).any(axis=1)])
    references_RK = agreement.sample_rows(tags_TK, evidence.settings.contexts, "reference tags")
    rows = np.flatnonzero((others_UK != 0).any(axis=1) & (profile_UK != 0).any(axis=1))
    own = (others_UK[rows] * profile_UK[rows]).sum(axis=1)
    share_U = np.full(len(uses.work_U), np.nan)
    share_U[rows] = agreement.share_as_near(others_UK[rows], own, references_RK)
    return _suspicion_of_share(share_U)


def creator_repetition(evidence: Evidence) -> NDArray[np.float64]:
    """The creator puts the tag under work after work, and on average those works do not fit it."""
    uses, creators_V = evidence.uses, evidence.works.creators_V
    creators_U = creators_V[uses.work_U]
    pairs, pair_U = np.unique(np.stack([uses.tag_U, creators_U], axis=1), axis=0, return_inverse=True)
    pair_U = pair_U.reshape(-1)
    num_P = np.bincount(pair_U, minlength=len(pairs))
    tagged = np.unique(uses.work_U)
    creators, num_tagged = np.unique(creators_V[tagged], return_counts=True)
    num_tagged_P = num_tagged[np.searchsorted(creators, pairs[:, 1])]
    repeated_P = (num_P - 1) / np.maximum(num_tagged_P - 1, 1)
    disagreement_U = context_disagreement(evidence)
    known_U = ~np.isnan(disagreement_U)
    num_known_P = np.bincount(pair_U[known_U], minlength=len(pairs))
    sum_P = np.bincount(pair_U[known_U], weights=disagreement_U[known_U], minlength=len(pairs))
    mean_P = np.divide(sum_P, num_known_P, out=np.full(len(pairs), np.nan), where=num_known_P > 0)
    suspicion_P = np.where((num_P >= 2) & (pairs[:, 1] >= 0), np.minimum(repeated_P, 1.0) * mean_P, np.nan)
    return np.asarray(suspicion_P[pair_U])


def news_burst(evidence: Evidence) -> NDArray[np.float64]:
    """The tag lives for a few days and is put under everything: a hijacked trend (a new topic also bursts, but stays on topic)."""
    uses = evidence.uses
    days_U = evidence.days_V[uses.work_U]
    span = float(np.ptp(evidence.days_V)) if len(evidence.days_V) else 0.0
    window = evidence.settings.hashtags.trend_window_days
    order = np.lexsort((days_U, uses.tag_U))
    bounds = np.searchsorted(uses.tag_U[order], np.arange(len(uses.tags) + 1))
    burst_T = np.full(len(uses.tags), np.nan)
    for tag in np.flatnonzero(evidence.num_works_T >= _MIN_BURST_WORKS):
        days = days_U[order[bounds[tag] : bounds[tag + 1]]]
        inside = int((np.searchsorted(days, days + window, side="right") - np.arange(len(days))).max())
        expected = min(1.0, window / span) if span > 0 else 1.0
        burst_T[tag] = max(0.0, inside / len(days) - expected) / max(1.0 - expected, 1e-9)
    spread_T = _mean_by_tag(evidence, context_disagreement(evidence))
    return np.asarray((burst_T * spread_T)[uses.tag_U])


def unbacked_rarity(evidence: Evidence) -> NDArray[np.float64]:
    """The tag is rare, and the works nearest in context neither carry it nor say its words."""
    uses, settings, contexts = evidence.uses, evidence.settings.hashtags, evidence.contexts
    is_rare_U = evidence.num_works_T[uses.tag_U] <= settings.rare_uses
    rows = np.flatnonzero(is_rare_U & contexts.has_context_V()[uses.work_U])
    naming = _works_naming(evidence, {int(tag) for tag in uses.tag_U[rows]})
    own_NK = contexts.works_VK[uses.work_U[rows]]
    others = [
        np.array(sorted(naming[tag] - {work}), dtype=np.int64)
        for tag, work in zip(uses.tag_U[rows].tolist(), uses.work_U[rows].tolist(), strict=True)
    ]
    nearness = np.concatenate([np.zeros(0), *(contexts.works_VK[works] @ own for works, own in zip(others, own_NK, strict=True))])
    num_others_N = np.array([len(works) for works in others], dtype=np.int64)
    row_M = np.repeat(np.arange(len(rows)), num_others_N)
    share_M = agreement.share_as_near(own_NK[row_M], nearness, agreement.reference_works(contexts, evidence.settings.contexts))
    backing_N = np.bincount(row_M, weights=share_M <= settings.neighbour_share, minlength=len(rows))
    out_U = np.full(len(uses.work_U), np.nan)
    out_U[rows] = 1.0 / (1.0 + backing_N)
    return out_U


def _works_naming(evidence: Evidence, tags: set[int]) -> dict[int, set[int]]:
    """The works that carry each tag or say one of its words, single letters aside."""
    naming: dict[int, set[int]] = {tag: set() for tag in tags}
    of_word: dict[str, list[int]] = {}
    for tag in sorted(tags):
        for word in evidence.words_of_tags[tag]:
            if len(word) > 1:
                of_word.setdefault(word, []).append(tag)
    for work, words in enumerate(evidence.said):
        for word in words:
            for tag in of_word.get(word, ()):
                naming[tag].add(work)
    for work, tag in zip(evidence.uses.work_U.tolist(), evidence.uses.tag_U.tolist(), strict=True):
        if tag in naming:
            naming[tag].add(work)
    return naming


RULES: Final = (
    Rule("blocklist", blocklist, flags_from=1.0, weight=8.0, neutral=0.0, is_fixed=True),
    Rule("begging_pattern", begging_pattern, flags_from=1.0, weight=8.0, neutral=0.0, is_fixed=True),
    Rule("platform_promotion", platform_promotion, flags_from=1.0, weight=8.0, neutral=0.0, is_fixed=True),
    Rule("category_entropy", category_entropy, flags_from=0.7, weight=3.0, neutral=0.55),
    Rule("context_disagreement", context_disagreement, flags_from=0.65, weight=5.0, neutral=0.5),
    Rule("embedding_disagreement", embedding_disagreement, flags_from=0.65, weight=3.0, neutral=0.5),
    Rule("said_around", said_around, flags_from=1.0, weight=1.5, neutral=0.5),
    Rule("named_by_category", named_by_category, flags_from=1.0, weight=1.5, neutral=0.5),
    Rule("category_mismatch", category_mismatch, flags_from=0.8, weight=3.0, neutral=0.5),
    Rule("foreign_to_other_tags", foreign_to_other_tags, flags_from=0.75, weight=1.5, neutral=0.5),
    Rule("creator_repetition", creator_repetition, flags_from=0.45, weight=2.0, neutral=0.1),
    Rule("news_burst", news_burst, flags_from=0.5, weight=3.0, neutral=0.2),
    Rule("unbacked_rarity", unbacked_rarity, flags_from=1.0, weight=1.5, neutral=0.5),
)


def _suspicion_of_share(share_U: NDArray[np.float64]) -> NDArray[np.float64]:
    """From the share of works that fit at least as well: 0 at one in a hundred, 1/2 at one in ten, 1 at all."""
    return np.asarray(1.0 - np.log(np.maximum(share_U, _LEAST_SHARE)) / np.log(_LEAST_SHARE))


def _mean_by_tag(evidence: Evidence, suspicion_U: NDArray[np.float64]) -> NDArray[np.float64]:
    known_U = ~np.isnan(suspicion_U)
    tag_U = evidence.uses.tag_U[known_U]
    num_T = np.bincount(tag_U, minlength=len(evidence.uses.tags))
    sum_T = np.bincount(tag_U, weights=suspicion_U[known_U], minlength=len(evidence.uses.tags))
    return np.asarray(np.divide(sum_T, num_T, out=np.full(len(num_T), np.nan), where=num_T > 0))
