"""Near copies of comments, against Jaccard similarity by brute force."""

from itertools import combinations

import numpy as np
import pytest

from reelspace.core.rng import rng
from reelspace.signals.comment_duplicates import band_keys_CB, banding, grams, near_copies, said_alike

LEAST = 0.8
WORDS = (
    *("lens", "tripod", "cake", "bread", "tea", "镜头", "三脚架", "蛋糕", "奶油", "真不错", "哪里买", "细节", "拍得好"),
    *("where", "did", "you", "get", "the", "is", "this", "good", "for", "beginners"),
)


def _jaccard(one: str, two: str) -> float:
    def parts(text: str) -> set[str]:
        return {text[i : i + 3] for i in range(len(text) - 2)} if len(text) >= 3 else {text}

    return len(parts(one) & parts(two)) / len(parts(one) | parts(two))


def _texts(num_originals: int, seed: int = 0) -> list[str]:
    """Different texts of a few words; half of them are others with one or two characters changed."""
    draw = rng(seed, "texts")
    texts = dict.fromkeys(" ".join(draw.choice(WORDS, size=int(draw.integers(6, 20)))) for _ in range(num_originals))
    for text in list(texts):
        changed = list(text)
        for place in draw.integers(0, len(changed), size=int(draw.integers(1, 3))):
            changed[int(place)] = "x"
        texts["".join(changed)] = None
    return list(texts)


def _shared_band(texts: list[str]) -> np.ndarray:
    keys_CB = band_keys_CB(texts, LEAST)
    return (keys_CB[:, None, :] == keys_CB[None, :, :]).any(axis=2)


def test_bands_find_the_true_pairs_and_few_that_are_far_apart() -> None:
    texts = _texts(200)
    shared_CC = _shared_band(texts)
    pairs = [(one, two, _jaccard(texts[one], texts[two])) for one, two in combinations(range(len(texts)), 2)]
    true = [bool(shared_CC[one, two]) for one, two, similarity in pairs if similarity >= LEAST]
    far = [bool(shared_CC[one, two]) for one, two, similarity in pairs if similarity < 0.3]
    assert len(true) >= 100
    assert np.mean(true) >= 0.95
    assert len(far) >= 10_000
    assert np.mean(far) < 0.01


def test_copies_are_those_of_a_greedy_search_by_brute_force() -> None:
    texts = _texts(200)
    ranks_C = rng(1, "ranks").permutation(len(texts))
    stands_C = near_copies(texts, np.zeros(len(texts), dtype=np.int64), ranks_C, LEAST)
    assert all(_jaccard(text, texts[row]) >= LEAST for text, row in zip(texts, stands_C.tolist(), strict=True))
    standing: list[int] = []
    copies = 0
    for row in np.argsort(ranks_C).tolist():
        if any(_jaccard(texts[row], texts[other]) >= LEAST for other in standing):
            copies += 1
        else:
            standing.append(row)
    found = int((stands_C != np.arange(len(texts))).sum())
    assert copies >= 80
    assert 0.95 * copies <= found <= 1.05 * copies


def test_the_best_copy_stands_for_all_and_texts_of_other_works_are_not_compared() -> None:
    texts = ["where did you get the lens", "where did you get the lens2", "where did you get the lens"]
    groups_C, ranks_C = np.array([0, 0, 1]), np.array([1, 0, 2])
    assert near_copies(texts, groups_C, ranks_C, LEAST).tolist() == [1, 1, 2]


def test_texts_shorter_than_a_gram_are_copies_only_of_themselves() -> None:
    texts = ["好", "好看", "好", "ok"]
    assert near_copies(texts, np.zeros(4, dtype=np.int64), np.arange(4), LEAST).tolist() == [0, 1, 0, 3]
    assert grams("ok") == {"ok"}


@pytest.mark.parametrize("least", [0.5, 0.65, 0.8, 0.9, 1.0])
def test_the_banding_misses_at_most_one_pair_in_a_hundred_at_the_least_similarity(least: float) -> None:
    bands, rows = banding(least)
    assert 1 - (1 - least**rows) ** bands >= 0.99
    assert bands * rows <= 128


def test_a_text_in_many_slightly_different_forms_is_said_under_too_many_works() -> None:
    campaign = [f"the best prices for all brands are on my page today number {number}" for number in range(30)]
    plain = ["where did you get the lens", "where did you get the cake", "the tripod is stable"]
    works_of = [np.array([work]) for work in range(len(campaign))] + [np.array([1, 2]), np.array([3]), np.array([4])]
    assert said_alike(campaign + plain, works_of, 10, LEAST) == set(campaign)
    assert said_alike(campaign + plain, works_of, 30, LEAST) == set()


def test_copies_under_one_work_do_not_make_a_text_common() -> None:
    copies = [f"the best prices for all brands are on my page today number {number}" for number in range(30)]
    assert said_alike(copies, [np.array([7])] * len(copies), 10, LEAST) == set()
    assert said_alike([], [], 10, LEAST) == set()
