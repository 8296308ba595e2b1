"""Purity of label vectors against plain loops and known worlds."""

from collections import Counter

import numpy as np
import pytest

from reelspace.core.rng import rng
from reelspace.evaluate.label_purity import chance_and_ceiling, label_purity, majority_classes, purities_C, purity_gain


def clustered(num: int, classes: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels around one direction for each class, of lengths from 0.1 to 10."""
    draw = rng(4, "clusters", num)
    class_L = draw.integers(0, classes, num)
    vectors = np.eye(classes, 6)[class_L] + noise * draw.standard_normal((num, 6))
    return (vectors * draw.uniform(0.1, 10, (num, 1))).astype(np.float32), class_L


@pytest.mark.parametrize("k", [1, 3, 500])
def test_purity_is_the_share_of_same_class_labels_among_the_nearest_by_cosine(k: int) -> None:
    vectors, class_L = clustered(60, 4, 0.6)
    class_L[::7] = -1
    known = [label for label in range(60) if class_L[label] >= 0]
    wanted = []
    for label in known:
        cosines = {
            other: float(vectors[label] @ vectors[other] / np.linalg.norm(vectors[label]) / np.linalg.norm(vectors[other]))
            for other in known
            if other != label
        }
        nearest = sorted(cosines, key=lambda other: -cosines[other])[:k]
        wanted.append(sum(class_L[other] == class_L[label] for other in nearest) / len(nearest))
    assert np.allclose(purities_C(vectors, class_L, k), wanted)
    if k < 500:
        assert 0.2 < np.mean(wanted) < 1


def test_purity_of_more_labels_than_are_ranked_at_once_is_that_of_each_label() -> None:
    vectors, class_L = clustered(1100, 5, 0.5)
    found = purities_C(vectors, class_L, 7)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert len(found) == 1100
    for label in (0, 1023, 1024, 1099):
        cosine = unit @ unit[label]
        cosine[label] = -2
        assert found[label] == pytest.approx((class_L[np.argsort(-cosine)[:7]] == class_L[label]).mean())


def test_the_interval_holds_the_mean_and_is_that_of_independent_labels() -> None:
    vectors, class_L = clustered(400, 4, 0.6)
    each = purities_C(vectors, class_L, 5)
    found = label_purity(vectors, class_L, 5, rng(0, "purity"))
    assert found.value == pytest.approx(each.mean())
    assert found.low is not None
    assert found.high is not None
    assert found.low < each.mean() < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * each.std() / 20, rel=0.15)
    assert found.num_labels == 400


def test_less_noisy_vectors_gain_purity_and_equal_ones_gain_nothing() -> None:
    (noisy, class_L), (clear, same_class_L) = clustered(300, 4, 0.8), clustered(300, 4, 0.4)
    assert (class_L == same_class_L).all()
    gain = purity_gain(noisy, clear, class_L, 5, rng(0, "gain"))
    first, second = (label_purity(vectors, class_L, 5, rng(0, "one")) for vectors in (noisy, clear))
    assert gain.value == pytest.approx(second.value - first.value)
    assert gain.low > 0
    nothing = purity_gain(noisy, 3 * noisy, class_L, 5, rng(0, "gain"))
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def test_random_vectors_have_the_purity_of_chance_and_perfect_ones_that_of_the_ceiling() -> None:
    class_L = np.array([0] * 150 + [1] * 100 + [2] * 3 + [-1] * 20)
    chance, ceiling = chance_and_ceiling(class_L, 5)
    random = rng(1, "random").standard_normal((273, 32)).astype(np.float32)
    found = label_purity(random, class_L, 5, rng(0, "purity"))
    assert found.low < chance < found.high
    perfect = np.eye(3, dtype=np.float32)[class_L]
    assert label_purity(perfect, class_L, 5, rng(0, "purity")).value == pytest.approx(ceiling)
    assert ceiling == pytest.approx((250 + 3 * 2 / 5) / 253)


@pytest.mark.parametrize("classes", [[], [-1, -1], [3, -1]])
def test_fewer_than_two_labels_of_known_class_have_no_purity(classes: list[int]) -> None:
    class_L = np.array(classes, dtype=np.int64)
    found = label_purity(np.ones((len(classes), 4), dtype=np.float32), class_L, 3, rng(0, "purity"))
    assert (found.value, found.low, found.high, found.num_labels) == (None, None, None, 0)
    assert chance_and_ceiling(class_L, 3) is None


def test_a_zero_vector_gives_no_nan() -> None:
    vectors = np.array([[0, 0], [1, 0], [2, 0], [0, 1]], dtype=np.float32)
    found = purities_C(vectors, np.array([1, 0, 0, 1]), 1)
    assert found.tolist() == [0, 1, 1, 1]  # all are as far from the zero vector: label 1 is first; label 3 takes label 0 first of two ties


@pytest.mark.parametrize(("min_share", "min_works"), [(0.0, 1), (0.5, 1), (0.6, 3), (1.0, 1)])
def test_the_class_of_a_label_is_that_of_most_of_its_works(min_share: float, min_works: int) -> None:
    draw = rng(9, "pairs")
    label_E, class_E = draw.integers(0, 25, 120), draw.integers(-1, 3, 120)
    found = majority_classes(label_E, class_E, 27, min_share, min_works)
    wanted = []
    for label in range(27):
        counts = Counter(class_E[(label_E == label) & (class_E >= 0)].tolist()).most_common()
        total = sum(count for _, count in counts)
        is_clear = bool(counts) and (len(counts) == 1 or counts[0][1] > counts[1][1])
        wanted.append(counts[0][0] if is_clear and counts[0][1] >= min_share * total and total >= min_works else -1)
    assert found.tolist() == wanted
    assert min(wanted) == -1 < max(wanted)


def test_labels_without_any_pair_have_no_class() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert majority_classes(none, none, 3, 0.5).tolist() == [-1, -1, -1]
