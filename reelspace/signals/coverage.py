"""Coverage: whether works with hashtags are distributed as all works are, and whether a tag goes with the content of its works.

Three ways to look at the works: what they are about (clusters of their contexts, or their category), who made them, when they came.
A difference between two distributions is never zero on a sample, so each comes with the mean it has when tags fall on works by chance
(works drawn without return) and with a basic bootstrap interval (Davison and Hinkley 1997), which takes the bias of resampling off.
Legend: V works, U uses of hashtags, T tags, G groups, B repetitions, C clusters, K dimension of contexts.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reelspace.core.rng import rng
from reelspace.signals.contexts import Contexts
from reelspace.signals.evidence import category_numbers
from reelspace.signals.hashtags import TagUses
from reelspace.signals.tables import Works

_NUM_CLUSTERS: Final = 20
_NUM_ITERATIONS: Final = 15
_MAX_FITTED: Final = 10_000  # works that clusters are found on; all are then placed
_NUM_REPETITIONS: Final = 100
_INTERVAL: Final = (0.025, 0.975)
_LARGE_GROUP: Final = 20  # works; drawing group by group is then faster than drawing works
_CHUNK_WORKS: Final = 1 << 14
_US_PER_DAY: Final = 86_400_000_000
_ROUNDED_TO: Final = 6


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its 95 % bootstrap interval; None where it cannot be told."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """How the tagged works differ from all works over groups.

    `total_variation` is the share of tagged works that would have to move; `divergence` that of Jensen and Shannon in bits, 0 to 1.
    `by_chance` is the total variation when as many works are tagged by lot, `chance_is_as_far` the share of such lots with at least
    the divergence found (a permutation test).
    """

    num_groups: int
    num_works: int
    num_tagged: int
    total_variation: Figure
    divergence: Figure
    by_chance: float | None
    chance_is_as_far: float | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """What hashtags cover. `same_content` is the chance that another work of a tag lies in the same cluster, averaged over uses."""

    num_works: int
    num_tagged: int
    differences: Mapping[str, Difference]
    tags_per_creator_gini: Figure
    same_content: Figure
    same_content_by_chance: float | None

    def json(self) -> dict[str, object]:
        """Give the figures as JSON values."""
        return asdict(self)


def coverage_of(works: Works, uses: TagUses, contexts: Contexts, seed: int = 0) -> Coverage:
    """Compare the works that have a use with all works.

    Args:
        uses: the uses that count; give the kept ones to look at what cleaning leaves.
    """
    tagged_V = np.zeros(len(works.ids_V), dtype=bool)
    tagged_V[uses.work_U] = True
    content_V = clusters(contexts.works_VK, _NUM_CLUSTERS, seed)
    groups = {
        "content": content_V,
        "category": category_numbers(works),
        "creator": works.creators_V,
        "day": works.created_us_V // _US_PER_DAY,
    }
    same, chance = same_content(uses, content_V, seed)
    return Coverage(
        num_works=len(tagged_V),
        num_tagged=int(tagged_V.sum()),
        differences={name: difference(group_V, tagged_V, seed) for name, group_V in groups.items()},
        tags_per_creator_gini=_gini_of_creators(works.creators_V, uses, seed),
        same_content=same,
        same_content_by_chance=chance,
    )


def total_variation(p_BG: NDArray[np.float64], q_BG: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half the sum of absolute differences of distributions along the last axis."""
    return np.asarray(np.abs(p_BG - q_BG).sum(axis=-1) / 2)


def jensen_shannon(p_BG: NDArray[np.float64], q_BG: NDArray[np.float64]) -> NDArray[np.float64]:
    """The divergence of Jensen and Shannon in bits (Lin 1991) of distributions along the last axis."""
    middle_BG = (p_BG + q_BG) / 2
    return np.asarray(np.maximum((_bits(p_BG, middle_BG) + _bits(q_BG, middle_BG)) / 2, 0.0))


def gini(counts_BG: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gini coefficient along the last axis: 0 when all have the same, near 1 when one has all; nan when none has any."""
    num = counts_BG.shape[-1]
    ranks_G = np.arange(1, num + 1)
    total_B = counts_BG.sum(axis=-1)
    ranked_B = (np.sort(counts_BG, axis=-1) * (2 * ranks_G - num - 1)).sum(axis=-1)
    return np.asarray(np.divide(ranked_B, num * total_B, out=np.full_like(total_B, np.nan, dtype=np.float64), where=total_B > 0))


def clusters(vectors_VK: NDArray[np.float64], num_clusters: int, seed: int) -> NDArray[np.int64]:
    """Cluster unit vectors (k-means with the start of Arthur and Vassilvitskii 2007); -1 for zero vectors."""
    known = np.flatnonzero((vectors_VK != 0).any(axis=1))
    out_V = np.full(len(vectors_VK), -1, dtype=np.int64)
    vectors_VK = vectors_VK.round(_ROUNDED_TO)
    if len(known) == 0:
        return out_V
    draw = rng(seed, "content clusters")
    fitted_VK = vectors_VK[known[np.sort(draw.permutation(len(known))[:_MAX_FITTED])]]
    centres_CK = _start(fitted_VK, num_clusters, draw)
    for _ in range(_NUM_ITERATIONS):
        nearest_V = _nearest(fitted_VK, centres_CK)
        num_C = np.bincount(nearest_V, minlength=len(centres_CK))
        sums_CK = np.zeros_like(centres_CK)
        np.add.at(sums_CK, nearest_V, fitted_VK)
        moved_CK = np.where(num_C[:, None] > 0, sums_CK / np.maximum(num_C, 1)[:, None], centres_CK).round(_ROUNDED_TO)
        if np.array_equal(moved_CK, centres_CK):
            break
        centres_CK = moved_CK
    out_V[known] = _nearest(vectors_VK[known], centres_CK)
    return out_V


def difference(group_V: NDArray[np.int64], tagged_V: NDArray[np.bool_], seed: int) -> Difference:
    """Compare tagged with all works over groups; works of unknown group (negative) are left out."""
    known_V = group_V >= 0
    _, number_V = np.unique(group_V[known_V], return_inverse=True)
    tagged = tagged_V[known_V]
    num_groups = int(number_V.max(initial=-1)) + 1
    all_G = np.bincount(number_V, minlength=num_groups)
    tagged_G = np.bincount(number_V[tagged], minlength=num_groups)
    if num_groups < 2 or not tagged.any():
        nothing = Figure(None, None, None)
        return Difference(num_groups, len(tagged), int(tagged.sum()), nothing, nothing, None, None)
    variation, divergence = _distances(tagged_G, all_G)
    chance_variation_B, chance_divergence_B = _by_chance(all_G, int(tagged.sum()), seed)
    variation_B, divergence_B = _resampled(all_G, tagged_G, seed)
    return Difference(
        num_groups=num_groups,
        num_works=len(tagged),
        num_tagged=int(tagged.sum()),
        total_variation=_figure(variation, variation_B),
        divergence=_figure(divergence, divergence_B),
        by_chance=round(float(chance_variation_B.mean()), _ROUNDED_TO),
        chance_is_as_far=round(float((1 + (chance_divergence_B >= divergence - 1e-12).sum()) / (1 + _NUM_REPETITIONS)), _ROUNDED_TO),
    )


def same_content(uses: TagUses, content_V: NDArray[np.int64], seed: int) -> tuple[Figure, float | None]:
    """How often another work of the same tag lies in the same cluster, and how often any other tagged work does.

    Tags are resampled for the interval, since the uses of one tag hang together.
    """
    pairs = np.unique(np.stack([uses.tag_U, uses.work_U], axis=1), axis=0)
    tag_N, content_N = pairs[:, 0], content_V[pairs[:, 1]]
    tag_N, content_N = tag_N[content_N >= 0], content_N[content_N >= 0]
    num_contents = int(content_V.max(initial=-1)) + 1
    cell, count_X = np.unique(tag_N * max(num_contents, 1) + content_N, return_counts=True)
    num_T = np.bincount(tag_N, minlength=len(uses.tags)).astype(np.float64)
    same_T = np.bincount(cell // max(num_contents, 1), weights=count_X * (count_X - 1.0), minlength=len(uses.tags))
    tags = np.flatnonzero(num_T >= 2)
    if len(tags) == 0:
        return Figure(None, None, None), None
    share_T, num_T = same_T[tags] / (num_T[tags] - 1), num_T[tags]  # summed over a tag's uses
    chosen_BT = rng(seed, "tags of coverage").integers(len(tags), size=(_NUM_REPETITIONS, len(tags)))
    resampled_B = np.array([share_T[chosen].sum() / num_T[chosen].sum() for chosen in chosen_BT])
    works_C = np.bincount(content_V[np.unique(uses.work_U)] + 1)[1:].astype(np.float64)
    num_works = works_C.sum()
    chance = float((works_C * (works_C - 1)).sum() / (num_works * (num_works - 1))) if num_works > 1 else None
    return _figure(float(share_T.sum() / num_T.sum()), resampled_B), None if chance is None else round(chance, _ROUNDED_TO)


def _gini_of_creators(creators_V: NDArray[np.int64], uses: TagUses, seed: int) -> Figure:
    creators, number_V = np.unique(creators_V, return_inverse=True)
    num_G = np.bincount(number_V[uses.work_U], minlength=len(creators))[creators >= 0].astype(np.float64)
    if num_G.sum() == 0:
        return Figure(None, None, None)
    draw = rng(seed, "creators of coverage")
    resampled_B = np.array([float(gini(draw.choice(num_G, len(num_G)))) for _ in range(_NUM_REPETITIONS)])
    return _figure(float(gini(num_G)), resampled_B[~np.isnan(resampled_B)])


def _distances(tagged_G: NDArray[np.int64], all_G: NDArray[np.int64]) -> tuple[float, float]:
    p_G, q_G = (counts / max(int(counts.sum()), 1) for counts in (tagged_G, all_G))
    return float(total_variation(p_G, q_G)), float(jensen_shannon(p_G, q_G))


def _by_chance(all_G: NDArray[np.int64], num_tagged: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both distances when as many works are drawn by lot; one lot at a time, as there may be as many groups as works."""
    draw = rng(seed, "coverage by chance")
    has_large_groups = _LARGE_GROUP * len(all_G) < int(all_G.sum())
    lots = (
        draw.multivariate_hypergeometric(all_G, num_tagged, method="marginals" if has_large_groups else "count")
        for _ in range(_NUM_REPETITIONS)
    )
    variation_B, divergence_B = np.array([_distances(tagged_G, all_G) for tagged_G in lots]).T
    return variation_B, divergence_B


def _resampled(all_G: NDArray[np.int64], tagged_G: NDArray[np.int64], seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both distances when every work counts a Poisson number of times (the bootstrap of Hanley and MacGibbon 2006)."""
    draw = rng(seed, "works of coverage")
    found = []
    for _ in range(_NUM_REPETITIONS):
        tagged_again_G = draw.poisson(tagged_G)
        found.append(_distances(tagged_again_G, tagged_again_G + draw.poisson(all_G - tagged_G)))
    variation_B, divergence_B = np.array(found).T
    return variation_B, divergence_B


def _figure(value: float, resampled_B: NDArray[np.float64]) -> Figure:
    if len(resampled_B) == 0:
        return Figure(round(value, _ROUNDED_TO), None, None)
    below, above = value - np.quantile(resampled_B, _INTERVAL)
    low, high = np.clip([value + above, value + below], 0.0, 1.0).round(_ROUNDED_TO).tolist()
    return Figure(round(value, _ROUNDED_TO), low, high)


def _bits(p_BG: NDArray[np.float64], q_BG: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.divide(p_BG, q_BG, out=np.ones_like(p_BG), where=p_BG > 0)
    return np.asarray((p_BG * np.log2(ratio)).sum(axis=-1))


def _start(vectors_VK: NDArray[np.float64], num_clusters: int, draw: np.random.Generator) -> NDArray[np.float64]:
    """Each next centre is drawn with a chance that grows with the squared distance to the nearest one."""
    centres = [vectors_VK[int(draw.integers(len(vectors_VK)))]]
    distance_V = ((vectors_VK - centres[0]) ** 2).sum(axis=1).round(_ROUNDED_TO)
    while len(centres) < num_clusters and distance_V.sum() > 0:
        chosen = int(np.searchsorted(np.cumsum(distance_V), draw.random() * distance_V.sum(), side="right"))
        centres.append(vectors_VK[min(chosen, len(vectors_VK) - 1)])
        distance_V = np.minimum(distance_V, ((vectors_VK - centres[-1]) ** 2).sum(axis=1).round(_ROUNDED_TO))
    return np.array(centres)


def _nearest(vectors_VK: NDArray[np.float64], centres_CK: NDArray[np.float64]) -> NDArray[np.int64]:
    """The nearest centre of each vector; distances are rounded, so machines agree, and of equal ones the first is taken."""
    half_C = (centres_CK**2).sum(axis=1) / 2
    parts = [
        np.argmax((vectors_VK[start : start + _CHUNK_WORKS] @ centres_CK.T - half_C).round(_ROUNDED_TO), axis=1)
        for start in range(0, len(vectors_VK), _CHUNK_WORKS)
    ]
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])
