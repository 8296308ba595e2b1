"""Coverage: distances against known values, and balance told apart from a planted lean."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from reelspace.core.rng import rng
from reelspace.signals.contexts import Contexts, unit
from reelspace.signals.coverage import Coverage, clusters, coverage_of, difference, gini, jensen_shannon, same_content, total_variation
from reelspace.signals.hashtags import TagUses, tag_uses
from reelspace.signals.tables import Works

NUM_WORKS = 1_200
NUM_TOPICS = 6
DAY_US = 86_400_000_000


def test_distances_have_their_known_values() -> None:
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.5, 0.5])
    assert total_variation(p, q) == pytest.approx(0.5)
    assert jensen_shannon(p, q) == pytest.approx(0.5)
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(1.0)
    assert jensen_shannon(p, p) == total_variation(p, p) == 0.0
    entropies = [-(x[x > 0] * np.log2(x[x > 0])).sum() for x in ((p + q) / 2, p, q)]
    assert jensen_shannon(p, q) == pytest.approx(entropies[0] - (entropies[1] + entropies[2]) / 2)


def test_gini_is_half_the_mean_difference_over_the_mean() -> None:
    counts = rng(0, "test gini").integers(0, 20, 31).astype(np.float64)
    by_pairs = np.abs(counts[:, None] - counts[None, :]).mean() / 2 / counts.mean()
    assert gini(counts) == pytest.approx(by_pairs)
    assert gini(np.ones(9)) == pytest.approx(0.0)
    assert gini(np.array([0.0, 0, 0, 7])) == pytest.approx(0.75)
    assert np.isnan(gini(np.zeros(3)))


def test_clusters_find_planted_topics_and_leave_works_without_context_out() -> None:
    topic_V, vectors_VK = _topics(0.1)
    vectors_VK[:7] = 0.0
    found_V = clusters(vectors_VK, NUM_TOPICS, seed=1)
    assert set(found_V[:7].tolist()) == {-1}
    pairs = {(int(topic), int(found)) for topic, found in zip(topic_V[7:], found_V[7:], strict=True)}
    assert len(pairs) == NUM_TOPICS
    assert np.array_equal(found_V, clusters(vectors_VK, NUM_TOPICS, seed=1))


def test_tags_that_fall_by_lot_are_no_further_than_chance_and_a_lean_is() -> None:
    draw = rng(2, "test lean")
    group_V = draw.integers(0, 8, NUM_WORKS)
    fair = difference(group_V, draw.random(NUM_WORKS) < 0.4, seed=0)
    leaning = difference(group_V, draw.random(NUM_WORKS) < np.where(group_V < 4, 0.6, 0.2), seed=0)
    assert fair.chance_is_as_far is not None
    assert leaning.chance_is_as_far is not None
    assert fair.chance_is_as_far > 0.05
    assert leaning.chance_is_as_far < 0.011  # the least that a hundred lots can say
    assert fair.total_variation.value == pytest.approx(fair.by_chance, abs=0.03)
    # half of the works have three quarters of the tags
    assert leaning.total_variation.value == pytest.approx(0.25, abs=0.04)
    assert leaning.total_variation.low is not None
    assert leaning.total_variation.high is not None
    assert leaning.total_variation.low < 0.25 < leaning.total_variation.high


def test_a_permutation_test_rejects_as_often_as_it_says() -> None:
    draw = rng(3, "test level")
    shares = []
    for _ in range(100):
        group_V = draw.integers(0, 5, 200)
        shares.append(difference(group_V, draw.random(200) < 0.5, seed=int(draw.integers(1_000))).chance_is_as_far)
    rejected = sum(share is not None and share <= 0.1 for share in shares)
    assert 2 <= rejected <= 20  # 10 expected, standard deviation 3


def test_same_content_counts_pairs_of_works_of_a_tag() -> None:
    content_V = np.array([0, 0, 1, 1, 1, -1])
    uses = tag_uses(np.array([0, 1, 2, 2, 3, 5, 4]), ["x"] * 7, ["a", "a", "a", "b", "b", "b", "c"])
    figure, chance = same_content(uses, content_V, seed=0)
    # a: works 0, 1, 2 share 1 of 3 pairs; b: works 2, 3 share theirs; weighted by 3 and 2 uses
    assert figure.value == pytest.approx((3 * (1 / 3) + 2 * 1) / 5)
    assert chance == pytest.approx((2 * 1 + 3 * 2) / (5 * 4))


def test_a_balanced_crowd_that_tags_its_topics_shows_both() -> None:
    topic_V, vectors_VK = _topics(0.1)
    draw = rng(4, "test crowd")
    tagged = np.flatnonzero(draw.random(NUM_WORKS) < 0.5)
    about = tag_uses(tagged, ["x"] * len(tagged), [f"topic{topic_V[work]}" for work in tagged])
    blind = tag_uses(tagged, ["x"] * len(tagged), [f"topic{topic}" for topic in draw.permutation(topic_V[tagged])])
    found = _coverage(topic_V, vectors_VK, about)
    assert found.num_tagged == len(tagged)
    for name in ("content", "category", "creator", "day"):
        each = found.differences[name]
        assert each.total_variation.value is not None
        assert each.by_chance is not None
        assert each.total_variation.value < 1.6 * each.by_chance, name
    assert found.same_content.value is not None
    assert found.same_content_by_chance is not None
    assert found.same_content.value > 2 * found.same_content_by_chance
    assert _coverage(topic_V, vectors_VK, blind).same_content.value == pytest.approx(found.same_content_by_chance, abs=0.02)
    json.dumps(found.json())


def test_without_hashtags_or_contexts_nothing_is_claimed() -> None:
    topic_V, vectors_VK = _topics(0.1)
    empty = tag_uses(np.zeros(0, dtype=np.int64), [], [])
    found = _coverage(topic_V, np.zeros_like(vectors_VK), empty)
    assert found.num_tagged == 0
    assert all(each.total_variation.value is None for each in found.differences.values())
    assert found.same_content.value is None
    assert found.tags_per_creator_gini.value is None


def _topics(noise: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    draw = rng(0, "test topics")
    topic_V = draw.integers(0, NUM_TOPICS, NUM_WORKS)
    centres = unit(draw.standard_normal((NUM_TOPICS, 16)))
    return topic_V, unit(centres[topic_V] + noise * draw.standard_normal((NUM_WORKS, 16)))


def _coverage(topic_V: NDArray[np.int64], vectors_VK: NDArray[np.float64], uses: TagUses) -> Coverage:
    draw = rng(5, "test works")
    works = Works(
        ids_V=np.arange(NUM_WORKS),
        captions=("",) * NUM_WORKS,
        cover_texts=("",) * NUM_WORKS,
        created_us_V=draw.integers(0, 20, NUM_WORKS) * DAY_US,
        creators_V=draw.integers(0, 50, NUM_WORKS),
        categories=tuple((f"topic{topic}",) for topic in topic_V),
    )
    return coverage_of(works, uses, Contexts(vectors_VK, {}, np.zeros((0, 16))))
