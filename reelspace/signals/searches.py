"""Searches: how often each position is looked at, which queries are one, and how far a pair of query and work can be trusted.

Everything here works on small columns; the large tables stay in `search_tables.py`.
Legend: P pairs of query and work, by work; Q queries; K positions, the first is row 0; E pairs of a work and a head of queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelspace.signals.settings import SearchSettings
from reelspace.signals.spellings import one_letter_apart

_MOST_SUPPORTERS = 32  # of a work's queries; those with the most people come first, and the rest would only cost time


@dataclass(frozen=True, slots=True)
class PositionCounts:
    """Clicks on pairs of query and work that were shown at two positions, summed over the pairs; row: the one, column: the other.

    Args:
        rates_KK: sum of clicks per impression at the row's position.
        clicks_KK: clicks at the row's position.
    """

    rates_KK: NDArray[np.float64]
    clicks_KK: NDArray[np.int64]


def examination(counts: PositionCounts, settings: SearchSettings) -> NDArray[np.float64]:
    """Estimate how often a result is looked at, per position, relative to the first; it never rises.

    The same pair at two positions is as good at both, so the ratio of its click rates is the ratio of looks. Ratios of all pairs of
    positions are fitted at once in logarithms, each with the weight of its clicks; steps from a position to the next are pulled
    towards those of 1 / k^eta.

    Source: Agarwal et al. 2019, Estimating Position Bias without Intrusive Interventions (the sets of section 4; least squares in
    logarithms instead of their likelihood, which needs no iterations).
    """
    num = len(counts.rates_KK)
    normal_KK, target_K = np.zeros((num, num)), np.zeros(num)
    steps = -settings.position_eta * np.diff(np.log(np.arange(1, num + 1)))
    for position, step in enumerate(steps):
        _expect(normal_KK, target_K, (position + 1, position), float(step), settings.position_prior_clicks)
    for upper, lower in zip(*np.nonzero(np.triu(counts.clicks_KK + counts.clicks_KK.T, 1)), strict=True):
        ratio, weight = _log_ratio(counts, int(upper), int(lower))
        _expect(normal_KK, target_K, (int(upper), int(lower)), ratio, weight)
    logs_K = np.zeros(num)
    logs_K[1:] = np.linalg.solve(normal_KK[1:, 1:], target_K[1:])
    falling_K = _never_rising(logs_K, np.diag(normal_KK))
    looks_K: NDArray[np.float64] = np.exp(falling_K - falling_K[0])
    return looks_K


def click_weights(examination_K: NDArray[np.float64], settings: SearchSettings) -> NDArray[np.float64]:
    """What a satisfied click at each position counts for: as many as would have clicked had all looked, up to a cap."""
    weights_K: NDArray[np.float64] = np.minimum(1.0 / np.maximum(examination_K, 1.0 / settings.max_click_weight), settings.max_click_weight)
    return weights_K


def spelling_heads(
    queries: Sequence[str], query_P: NDArray[np.int64], work_P: NDArray[np.int64], clicks_P: NDArray[np.int64], min_overlap: float
) -> NDArray[np.int64]:
    """Give the head of each of Q queries: a more frequent one a letter apart, with the same digits, that leads to the same works.

    Args:
        query_P: row of the query; work_P: any number of the work; clicks_P: clicks that satisfied.
        min_overlap: least cosine of the two queries' clicks over works.
    """
    near = one_letter_apart(queries)
    vectors: dict[int, dict[int, int]] = {query: {} for query, others in enumerate(near) if others}
    for query, work, clicks in zip(query_P.tolist(), work_P.tolist(), clicks_P.tolist(), strict=True):
        if query in vectors:
            vectors[query][work] = clicks
    total_Q: NDArray[np.float64] = np.bincount(query_P, weights=clicks_P, minlength=len(queries)).astype(np.float64)
    head_Q = np.arange(len(queries))
    for query in sorted(vectors, key=lambda query: (-total_Q[query], queries[query])):
        heads = [other for other in near[query] if head_Q[other] == other and _comes_first(other, query, total_Q, queries)]
        overlaps = sorted((-_cosine(vectors[query], vectors[head]), queries[head], head) for head in heads)
        if overlaps and -overlaps[0][0] >= min_overlap:
            head_Q[query] = overlaps[0][2]
    return head_Q


def pair_confidence(
    work_P: NDArray[np.int64],
    head_P: NDArray[np.int64],
    num_users_P: NDArray[np.int64],
    weighted_clicks_P: NDArray[np.float64],
    num_skips_P: NDArray[np.int64],
    prior: float,
) -> NDArray[np.float64]:
    """Give how far each pair can be trusted, 0 to 1: the geometric mean of three shares, each pulled towards that of all pairs.

    The shares: the work's other queries that meet the pair's query on another work too (one step through the co-click graph),
    clicks among clicks and skips, and people against `prior` people.

    Args:
        work_P: any number of the work, equal ones adjacent, queries with the most people first.
        head_P: row of the head of the pair's query; spellings of one query do not support each other.
    """
    reached_P, others_P = _support(work_P, head_P)
    support_P = _pulled(reached_P, others_P, prior)
    clicked_P = _pulled(weighted_clicks_P, weighted_clicks_P + num_skips_P, prior)
    people_P = num_users_P / (num_users_P + prior)
    confidence_P: NDArray[np.float64] = np.cbrt(support_P * clicked_P * people_P).round(6)
    return confidence_P


def _log_ratio(counts: PositionCounts, upper: int, lower: int) -> tuple[float, float]:
    """Logarithm of the looks at the upper position over those at the lower, and its weight; half a click more on both sides."""
    clicks = np.array([counts.clicks_KK[upper, lower], counts.clicks_KK[lower, upper]])
    rates = np.array([counts.rates_KK[upper, lower], counts.rates_KK[lower, upper]])
    rates = rates + 0.5 * rates.sum() / clicks.sum()
    return float(np.log(rates[0] / rates[1])), float(1.0 / (1.0 / (clicks + 0.5)).sum())


def _expect(
    normal_KK: NDArray[np.float64], target_K: NDArray[np.float64], positions: tuple[int, int], difference: float, weight: float
) -> None:
    """Add one equation to the least squares: the first position minus the second is `difference`."""
    one, other = positions
    normal_KK[one, one] += weight
    normal_KK[other, other] += weight
    normal_KK[one, other] -= weight
    normal_KK[other, one] -= weight
    target_K[one] += weight * difference
    target_K[other] -= weight * difference


def _never_rising(values_K: NDArray[np.float64], weights_K: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest values that never rise (pool adjacent violators)."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values_K.tolist(), weights_K.tolist(), strict=True):
        block = (value, weight, 1)
        while blocks and blocks[-1][0] < block[0]:
            mean, mass, size = blocks.pop()
            block = ((mean * mass + block[0] * block[1]) / (mass + block[1]), mass + block[1], size + block[2])
        blocks.append(block)
    return np.concatenate([np.full(size, mean) for mean, _, size in blocks])


def _comes_first(one: int, other: int, total_Q: NDArray[np.float64], queries: Sequence[str]) -> bool:
    return bool((-total_Q[one], queries[one]) < (-total_Q[other], queries[other]))


def _cosine(one: dict[int, int], other: dict[int, int]) -> float:
    if len(other) < len(one):
        one, other = other, one
    product = sum(value * other.get(work, 0) for work, value in one.items())
    norms = sum(value**2 for value in one.values()) * sum(value**2 for value in other.values())
    return float(product / norms**0.5) if norms else 0.0


def _support(work_P: NDArray[np.int64], head_P: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per pair, how many of the work's other heads meet its head on another work too, and how many others there are."""
    if not len(work_P):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    num_heads = int(head_P.max()) + 1
    rank_P = np.cumsum(np.concatenate([[0], work_P[1:] != work_P[:-1]]))
    _, first, inverse_P = np.unique(rank_P * num_heads + head_P, return_index=True, return_inverse=True)
    order_E = np.argsort(first)
    rank_E, head_E = rank_P[first[order_E]], head_P[first[order_E]]
    start_E = np.searchsorted(rank_E, rank_E, side="left")
    size_E = np.minimum(np.searchsorted(rank_E, rank_E, side="right") - start_E, _MOST_SUPPORTERS)
    one = np.repeat(np.arange(len(rank_E)), size_E)
    other = start_E[one] + np.arange(len(one)) - np.repeat(np.cumsum(size_E) - size_E, size_E)
    one, other = one[one != other], other[one != other]
    _, meeting, num_works = np.unique(head_E[one] * num_heads + head_E[other], return_inverse=True, return_counts=True)
    reached_E = np.bincount(one[num_works[meeting] > 1], minlength=len(rank_E))
    others_E = np.bincount(one, minlength=len(rank_E))
    edge_of = np.empty_like(order_E)
    edge_of[order_E] = np.arange(len(order_E))
    return reached_E[edge_of[inverse_P]], others_E[edge_of[inverse_P]]


def _pulled(parts_P: NDArray[np.generic], wholes_P: NDArray[np.generic], prior: float) -> NDArray[np.float64]:
    """Shares, each pulled towards the share over all as if `prior` more were seen; 1 where nothing was seen at all."""
    parts, wholes = np.asarray(parts_P, dtype=np.float64), np.asarray(wholes_P, dtype=np.float64)
    mean = parts.sum() / wholes.sum() if wholes.sum() else 1.0
    pulled_P: NDArray[np.float64] = (parts + prior * mean) / (wholes + prior)
    return pulled_P
