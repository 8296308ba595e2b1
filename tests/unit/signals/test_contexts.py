"""Contexts and agreement, against dense linear algebra and plain loops."""

import numpy as np

from reelspace.signals import agreement
from reelspace.signals.contexts import Contexts, build_contexts, unit
from reelspace.signals.settings import ContextSettings


def _works(num_topics: int = 4, num_each: int = 30) -> list[dict[str, float]]:
    draw = np.random.default_rng(3)
    return [
        {f"topic{topic}word{int(word)}": 1.0 for word in draw.choice(6, 3, replace=False)} | {f"noise{int(draw.integers(20))}": 0.5}
        for topic in range(num_topics)
        for _ in range(num_each)
    ]


def test_contexts_are_the_leading_singular_directions() -> None:
    works = _works()
    contexts = build_contexts(works, ContextSettings(dimension=4, num_iterations=20))
    words = sorted(contexts.words)
    counts = {word: sum(word in weights for weights in works) for word in words}
    dense = np.array([[weights.get(word, 0.0) * np.log(len(works) / counts[word]) for word in words] for weights in works])
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    directions = np.linalg.svd(dense)[2][:4]
    # the vectors of works weigh each direction by the square of its singular value
    wanted = unit(dense @ directions.T * np.linalg.svd(dense)[1][:4])
    assert np.allclose(contexts.works_VK @ contexts.works_VK.T, wanted @ wanted.T, atol=1e-3)


def test_works_of_one_topic_are_near_and_words_follow() -> None:
    contexts = build_contexts(_works(), ContextSettings(dimension=4))
    topic_V = np.repeat(np.arange(4), 30)
    cosine_VV = contexts.works_VK @ contexts.works_VK.T
    same_VV = topic_V[:, None] == topic_V[None]
    assert cosine_VV[same_VV].mean() > 0.9
    assert abs(cosine_VV[~same_VV].mean()) < 0.1
    word = contexts.word_vector(["topic2word0", "unheard"])
    assert word is not None
    assert (contexts.works_VK @ word)[topic_V == 2].min() > (contexts.works_VK @ word)[topic_V != 2].max()
    assert contexts.word_vector(["unheard"]) is None


def test_works_without_words_have_no_context() -> None:
    contexts = build_contexts([*_works(), {}, {"once": 1.0}], ContextSettings(dimension=4))
    assert contexts.has_context_V().tolist() == [True] * 120 + [False, False]
    nothing = build_contexts([{}, {}], ContextSettings())
    assert nothing.has_context_V().tolist() == [False, False]


def _random_uses() -> tuple[Contexts, np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    draw = np.random.default_rng(0)
    contexts = Contexts(unit(draw.standard_normal((40, 5))), {}, np.zeros((0, 5)))
    return contexts, draw.integers(0, 6, 80), draw.integers(0, 40, 80), draw.integers(-1, 8, 40)


def test_a_use_is_compared_with_other_creators_only() -> None:
    contexts, tag_U, work_U, creators_V = _random_uses()
    sums_TK = agreement.profiles_TK(tag_U, work_U, 6, contexts)
    got_UK = agreement.elsewhere_UK(tag_U, work_U, creators_V, sums_TK, contexts)
    for use in range(80):
        own = creators_V[work_U[use]]
        wanted = np.zeros(5)
        for other in range(80):
            same_person = work_U[other] == work_U[use] if own < 0 else creators_V[work_U[other]] == own
            if tag_U[other] == tag_U[use] and not same_person:
                wanted += contexts.works_VK[work_U[other]]
        assert np.allclose(got_UK[use], wanted, atol=1e-9)


def test_the_share_that_fits_is_counted_over_all_works() -> None:
    contexts, _, work_U, _ = _random_uses()
    profile_UK = np.random.default_rng(1).standard_normal((80, 5))
    profile_UK[7] = 0
    share_U = agreement.share_that_fits_U(profile_UK, work_U, contexts, ContextSettings())
    assert np.isnan(share_U[7])
    for use in (0, 11, 79):
        cosine_V = contexts.works_VK @ profile_UK[use]
        assert share_U[use] == (1 + (cosine_V >= cosine_V[work_U[use]] - 1e-9).sum()) / 41
