"""Keyword masking: whole words, exact budgets, draws that do not depend on the batch. Legend: B texts, L tokens, N draws."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from reelspace.model.tokenizer import MASK, UNKNOWN, Tokenizer
from reelspace.signals.segmentation import Segmenter
from reelspace.train.keywords import KeywordSettings, MaskDraws, WordCutter, WordTokens, choose_masked, mask_tokens, masked_texts

LENGTH = 24
RANDOM = KeywordSettings(selector="random")
ONLY_KEYWORDS = KeywordSettings(keyword_share=1.0)
TEXTS = (
    "微单相机怎么选 best camera",
    "don't miss my unboxing!! 🔥 相机推荐",
    "हिन्दी गाना with a lens",
    "camera",
    "",
    "the quick brown fox jumps over the lazy dog while my camera watches it from the garden and never tells anyone at all",
)
CORPUS = ["best camera lens", "the camera review", "微单相机怎么选", "相机推荐", "lens tutorial don't", "हिन्दी गाना"] * 3


@pytest.fixture(scope="module")
def cutter() -> WordCutter:
    return WordCutter(Segmenter())


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(CORPUS, 300, LENGTH)


def singles(num_texts: int, num_words: int) -> WordTokens:
    """Texts of words with one token each, ids from 50."""
    word_BL = np.tile(np.where(np.arange(LENGTH) < num_words, np.arange(LENGTH), -1), (num_texts, 1)).astype(np.int32)
    ids_BL = np.where(word_BL >= 0, word_BL + 50, 0).astype(np.int32)
    return WordTokens(ids_BL, word_BL, (tuple(f"w{number}" for number in range(num_words)),) * num_texts)


def sized(*sizes: int) -> WordTokens:
    """One text of words with the given numbers of tokens."""
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    word_BL = np.full((1, LENGTH), -1, dtype=np.int32)
    word_BL[0, : len(numbers)] = numbers
    ids_BL = np.where(word_BL >= 0, np.arange(LENGTH) + 50, 0).astype(np.int32)
    return WordTokens(ids_BL, word_BL, (tuple(f"w{number}" for number in range(len(sizes))),))


def choice_draws(num_texts: int, step: int = 0) -> NDArray[np.float64]:
    return MaskDraws.of(7, step, np.arange(num_texts), LENGTH).choice_BN


def masked_words(words: WordTokens, is_masked_BL: NDArray[np.bool_], row: int = 0) -> set[str]:
    return {words.words_B[row][number] for number in words.word_BL[row][is_masked_BL[row]]}


def test_word_tokens_have_the_ids_of_the_tokenizer_and_padding_has_no_word(cutter: WordCutter, tokenizer: Tokenizer) -> None:
    words = cutter.word_tokens(TEXTS, tokenizer)
    ids_BL, mask_BL = tokenizer.encode_BL(TEXTS)
    assert (words.ids_BL == ids_BL).all()
    assert ((words.word_BL >= 0) == mask_BL).all()


def test_the_tokens_of_a_word_are_the_tokens_that_the_word_has_alone(cutter: WordCutter) -> None:
    tokenizer = Tokenizer.train(CORPUS, 300, 120)
    words = cutter.word_tokens(TEXTS, tokenizer)
    for row, text_words in enumerate(words.words_B):
        assert text_words == cutter.words(TEXTS[row])
        for number, word in enumerate(text_words):
            alone_BL, mask_BL = tokenizer.encode_BL([word])
            assert words.ids_BL[row][words.word_BL[row] == number].tolist() == alone_BL[mask_BL].tolist()


def test_words_are_those_of_the_segmentation_and_signs_stand_between(cutter: WordCutter) -> None:
    assert cutter.words(TEXTS[0]) == ("微", "单", "相机", "怎么", "选", "best", "camera")
    assert cutter.words(TEXTS[1]) == ("don't", "miss", "my", "unboxing", "!!", "🔥", "相机", "推荐")
    assert cutter.words(TEXTS[2]) == ("हिन्दी", "गाना", "with", "a", "lens")


def test_words_do_not_depend_on_the_vocabulary(cutter: WordCutter, tokenizer: Tokenizer) -> None:
    other = Tokenizer.train(["abc"] * 2, 100, 5)
    assert cutter.word_tokens(TEXTS, other).words_B == cutter.word_tokens(TEXTS, tokenizer).words_B


@pytest.mark.parametrize("selector", ["tfidf", "random"])
def test_words_are_never_split(cutter: WordCutter, tokenizer: Tokenizer, selector: str) -> None:
    words = cutter.word_tokens(TEXTS, tokenizer)
    settings = KeywordSettings.model_validate({"selector": selector, "budget": 0.4})
    scores = [np.arange(len(text_words), dtype=np.float64) for text_words in words.words_B]
    num_masked = 0
    for step in range(50):
        is_masked_BL = choose_masked(words, scores, settings, choice_draws(len(TEXTS), step))
        for numbers_L, masked_L in zip(words.word_BL, is_masked_BL, strict=True):
            shares = [masked_L[numbers_L == number].mean() for number in set(numbers_L.tolist()) - {-1}]
            assert set(shares) <= {0.0, 1.0}
        assert not is_masked_BL[words.word_BL < 0].any()
        num_masked += int(is_masked_BL.sum())
    assert num_masked > 500


def test_both_characters_of_a_chinese_word_are_masked_together(cutter: WordCutter, tokenizer: Tokenizer) -> None:
    words = cutter.word_tokens(["微单相机怎么选"], tokenizer)
    scores = [np.array([float(word == "相机") for word in words.words_B[0]])]
    is_masked_BL = choose_masked(words, scores, ONLY_KEYWORDS, choice_draws(1))
    assert is_masked_BL[0].nonzero()[0].tolist() == [2, 3]


@pytest.mark.parametrize(("num_words", "budget", "expected"), [(20, 0.15, 3), (10, 0.15, 2), (9, 0.15, 1), (2, 0.15, 1), (24, 1.0, 24)])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_with_words_of_one_token_the_budget_is_met_exactly(num_words: int, budget: float, expected: int, share: float) -> None:
    words = singles(40, num_words)
    scores = [np.arange(num_words, dtype=np.float64)] * 40
    settings = KeywordSettings(budget=budget, keyword_share=share)
    assert (choose_masked(words, scores, settings, choice_draws(40)).sum(axis=1) == expected).all()


def test_several_words_never_exceed_the_budget_and_no_word_that_fits_is_left() -> None:
    draw = np.random.default_rng(0)
    alone = together = 0
    for step in range(300):
        sizes = draw.integers(1, 5, draw.integers(1, 7))
        words = sized(*sizes.tolist())
        settings = KeywordSettings(selector="random", budget=float(draw.uniform(0.1, 0.6)))
        budget = max(1, math.floor(settings.budget * sizes.sum() + 0.5))
        is_masked_BL = choose_masked(words, None, settings, choice_draws(1, step))
        taken = np.unique(words.word_BL[is_masked_BL])
        used = int(is_masked_BL.sum())
        assert len(taken) >= 1
        assert used <= budget or len(taken) == 1
        left = np.delete(sizes, taken)
        assert used > budget or len(left) == 0 or used + left.min() > budget
        alone, together = alone + (len(taken) == 1), together + (len(taken) > 1)
    assert min(alone, together) > 50


def test_the_best_word_is_taken_even_when_it_is_longer_than_the_budget() -> None:
    words = sized(1, 4, 1, 1)
    is_masked_BL = choose_masked(words, [np.array([0.0, 3.0, 1.0, 2.0])], ONLY_KEYWORDS, choice_draws(1))
    assert masked_words(words, is_masked_BL) == {"w1"}


def test_keywords_only_masks_the_best_words_whatever_the_draws() -> None:
    words = singles(50, 20)
    scores = [np.random.default_rng(row).permutation(20).astype(np.float64) for row in range(50)]
    is_masked_BL = choose_masked(words, scores, ONLY_KEYWORDS, choice_draws(50))
    for row in range(50):
        assert is_masked_BL[row].nonzero()[0].tolist() == sorted(np.argsort(scores[row])[-3:].tolist())


def test_the_share_of_keywords_holds_on_average_for_a_budget_of_one_token() -> None:
    num_texts, share = 4_000, 0.7
    words = singles(num_texts, 8)
    scores = [np.arange(8, dtype=np.float64)] * num_texts
    is_masked_BL = choose_masked(words, scores, KeywordSettings(keyword_share=share), choice_draws(num_texts))
    expected = share + (1 - share) / 8
    assert abs(is_masked_BL[:, 7].mean() - expected) < 4 * math.sqrt(expected * (1 - expected) / num_texts)


def test_a_planted_keyword_is_masked_more_often_than_by_random_masks() -> None:
    words = singles(1_000, 12)
    scores = [np.where(np.arange(12) == 5, 4.0, 0.5)] * 1_000
    by_keyword, by_chance = (
        choose_masked(words, scores, settings, choice_draws(1_000))[:, 5].mean() for settings in (KeywordSettings(), RANDOM)
    )
    # Budget: two of twelve tokens. By default at least one of the two falls on keywords.
    assert by_keyword == 1.0
    assert abs(by_chance - 2 / 12) < 4 * math.sqrt(1 / 6 * 5 / 6 / 1_000)


def test_the_random_selector_ignores_scores_and_favours_no_place() -> None:
    words = singles(3_000, 20)
    scores = [np.arange(20, dtype=np.float64)] * 3_000
    is_masked_BL = choose_masked(words, scores, RANDOM, choice_draws(3_000))
    assert (is_masked_BL == choose_masked(words, None, RANDOM, choice_draws(3_000))).all()
    rates = is_masked_BL[:, :20].mean(axis=0)
    assert np.abs(rates - 0.15).max() < 5 * math.sqrt(0.15 * 0.85 / 3_000)


def test_signs_and_words_with_unknown_pieces_are_never_masked(cutter: WordCutter, tokenizer: Tokenizer) -> None:
    words = cutter.word_tokens(["鳄鱼 !! camera ??", "!!", ""], tokenizer)
    assert (words.ids_BL[0] == UNKNOWN).any()
    for step in range(30):
        is_masked_BL = choose_masked(words, None, KeywordSettings(selector="random", budget=1.0), choice_draws(3, step))
        assert masked_words(words, is_masked_BL) == {"camera"}
        assert not is_masked_BL[1:].any()


def test_masked_tokens_become_mask_random_and_themselves_in_the_given_shares() -> None:
    num_texts, vocabulary_size = 2_000, 1_000
    words = singles(num_texts, 16)
    is_masked_BL = np.zeros(words.ids_BL.shape, dtype=np.bool_)
    is_masked_BL[:, 3:11] = True
    draws_BN = MaskDraws.of(1, 0, np.arange(num_texts), LENGTH).tokens_BN
    ids_BL = mask_tokens(words.ids_BL, is_masked_BL, draws_BN, vocabulary_size, KeywordSettings())
    assert (ids_BL[~is_masked_BL] == words.ids_BL[~is_masked_BL]).all()
    told, own = ids_BL[is_masked_BL], words.ids_BL[is_masked_BL]
    num = len(told)
    random = (told != MASK) & (told != own)
    for share, expected in (((told == MASK).mean(), 0.8), (random.mean(), 0.1 * 996 / 997), ((told == own).mean(), 0.1 + 0.1 / 997)):
        assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / num)
    assert told[random].min() >= 3
    assert told[random].max() < vocabulary_size
    counts, _ = np.histogram(told[random], bins=10, range=(3, vocabulary_size))
    assert np.abs(counts - random.sum() / 10).max() < 5 * math.sqrt(random.sum() / 10)


def test_a_mask_depends_on_the_work_and_not_on_the_batch_or_its_padding(cutter: WordCutter, tokenizer: Tokenizer) -> None:
    works_B = np.array([900, 17, 3, 44, 5, 61])
    words = cutter.word_tokens(TEXTS, tokenizer)
    scores = [np.linspace(0, 1, len(text_words)) for text_words in words.words_B]
    settings = KeywordSettings(budget=0.3, keyword_share=0.5)
    together = masked_texts(words, scores, MaskDraws.of(7, 2, works_B, LENGTH), tokenizer.size, settings)
    order = np.array([3, 0, 2])
    picked, longest = words.rows(order), 20
    short = WordTokens(picked.ids_BL[:, :longest], picked.word_BL[:, :longest], picked.words_B)
    apart = masked_texts(short, [scores[row] for row in order], MaskDraws.of(7, 2, works_B[order], longest), tokenizer.size, settings)
    assert (apart.is_masked_BL == together.is_masked_BL[order, :longest]).all()
    assert (apart.ids_BL == together.ids_BL[order, :longest]).all()


def test_other_steps_and_seeds_mask_other_words() -> None:
    words = singles(64, 20)
    first, *others = (
        masked_texts(words, None, MaskDraws.of(seed, step, np.arange(64), LENGTH), 100, RANDOM).is_masked_BL
        for seed, step in ((0, 0), (0, 1), (1, 0))
    )
    for other in others:
        assert (first != other).any(axis=1).mean() > 0.9


def test_shares_beyond_one_are_refused() -> None:
    with pytest.raises(ValidationError, match="expected at most 1"):
        KeywordSettings(mask_share=0.8, random_share=0.3)
    assert KeywordSettings(mask_share=0.9, random_share=0.1).random_share == 0.1
