"""Keyword masking: which words of a text are hidden for masked language modelling, and what stands in their place.

Legend: B texts, L tokens, W words of one text, N draws.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from reelspace.core.rng import uniform_BN
from reelspace.core.settings import Settings
from reelspace.model.tokenizer import MASK, NUM_SPECIAL, UNKNOWN, Tokenizer, clean, pre_tokenizer
from reelspace.signals.segmentation import Segmenter

Scores = Sequence[NDArray[np.float64]]
"""One array per text, one score per word of `WordTokens.words_B`."""


class KeywordSettings(Settings):
    """Which words are masked, and how."""

    selector: Literal["tfidf", "attention", "random"] = Field(
        "tfidf", description="Score of a word: TF-IDF, attention of an earlier model times IDF, or none."
    )
    budget: float = Field(0.15, gt=0, le=1, description="Masked tokens as a share of a text's tokens; at least one word is masked.")
    keyword_share: float = Field(0.8, ge=0, le=1, description="Share of the budget for the best-scored words; random words share the rest.")
    mask_share: float = Field(0.8, ge=0, le=1, description="Share of the masked tokens that become [MASK].")
    random_share: float = Field(0.1, ge=0, le=1, description="Share of the masked tokens that become a random one; the others stay.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.mask_share + self.random_share > 1 + 1e-9:
            raise ValueError(f"mask_share + random_share is {self.mask_share + self.random_share}, expected at most 1")
        return self


@dataclass(frozen=True, slots=True)
class WordTokens:
    """Texts as token ids, each of which knows its word."""

    ids_BL: NDArray[np.int32]
    word_BL: NDArray[np.int32]
    """Number of each token's word in its text, -1 on padding."""
    words_B: tuple[tuple[str, ...], ...]
    """The words of each whole text, those beyond the last token included."""

    def rows(self, rows_B: NDArray[np.int64]) -> "WordTokens":
        """Pick texts."""
        return WordTokens(self.ids_BL[rows_B], self.word_BL[rows_B], tuple(self.words_B[row] for row in rows_B))


@dataclass(frozen=True, slots=True)
class MaskedTexts:
    """What the model reads in place of the texts, and which tokens it must tell."""

    ids_BL: NDArray[np.int32]
    is_masked_BL: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class MaskDraws:
    """Uniforms of one step, a row per text."""

    choice_BN: NDArray[np.float64]
    """N = 1 + L, for `choose_masked`."""
    tokens_BN: NDArray[np.float64]
    """N = 2 L, for `mask_tokens`."""

    @classmethod
    def of(cls, seed: int, step: int, works_B: NDArray[np.int64], length: int) -> Self:
        """Draw for L = length tokens; a shorter length gives the first columns of a longer one."""
        return cls(
            uniform_BN(seed, step, works_B, "masked words", 1 + length), uniform_BN(seed, step, works_B, "masked tokens", 2 * length)
        )


class WordCutter:
    """Cuts texts into words that no token of any tokenizer of ours crosses: equal words whatever the vocabulary.

    A word is a word of the segmentation, or a stretch of signs between them.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._stretches = pre_tokenizer()

    def words(self, text: str) -> tuple[str, ...]:
        """Give the words of a text in order, with repetitions."""
        cleaned = clean(text)
        return tuple(cleaned[start:end] for start, end in self._spans(cleaned))

    def word_tokens(self, texts: Sequence[str], tokenizer: Tokenizer) -> WordTokens:
        """Give the very ids of `tokenizer.encode_BL(texts)` with their words."""
        ids_BL, starts_BL = tokenizer.encode_starts_BL(texts)
        word_BL = np.full(ids_BL.shape, -1, dtype=np.int32)
        words = []
        for row, text in enumerate(texts):
            cleaned = clean(text)
            spans = self._spans(cleaned)
            words.append(tuple(cleaned[start:end] for start, end in spans))
            present = starts_BL[row] >= 0
            word_BL[row, present] = np.searchsorted([start for start, _ in spans], starts_BL[row, present], side="right") - 1
        return WordTokens(ids_BL, word_BL, tuple(words))

    def _spans(self, cleaned: str) -> list[tuple[int, int]]:
        stretches = [span for _, span in self._stretches.pre_tokenize_str(cleaned)]
        return _united([*stretches, *self._segmented(cleaned)])

    def _segmented(self, cleaned: str) -> Iterable[tuple[int, int]]:
        end = 0
        for word in self._segmenter.words(cleaned):
            # Only signs lie between words, and no word begins with a sign: the first finding is the right one.
            start = cleaned.index(word, end)
            end = start + len(word)
            yield start, end


def masked_texts(
    words: WordTokens, scores: Scores | None, draws: MaskDraws, vocabulary_size: int, settings: KeywordSettings
) -> MaskedTexts:
    """Mask texts; scores are as of `choose_masked`."""
    is_masked_BL = choose_masked(words, scores, settings, draws.choice_BN)
    return MaskedTexts(mask_tokens(words.ids_BL, is_masked_BL, draws.tokens_BN, vocabulary_size, settings), is_masked_BL)


def choose_masked(words: WordTokens, scores: Scores | None, settings: KeywordSettings, draws_BN: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Choose the tokens to be told: whole words, first the best-scored ones, then random ones.

    A text's budget is its share of tokens, rounded, and at least 1. Its first word is taken whatever its length, since rare words have
    many pieces and a strict budget would never mask them; further words only as they fit. Words with an unknown piece, and signs, are
    never masked: to tell them teaches nothing.

    Args:
        scores: may be None for the selector `random`, which ignores them.
        draws_BN: uniforms, N = 1 + L: one for the rounding of the keywords' share, one per token (a word has its first token's).

    Returns:
        is_masked_BL; a text without a word that may be masked has none.

    Source: 15 % and whole words, Devlin et al. 2019 and its whole-word revision; keywords, Moon et al. 2020 (MASKER).
    """
    is_masked_BL = np.zeros(words.ids_BL.shape, dtype=np.bool_)
    for row, numbers_L in enumerate(words.word_BL):
        candidates = _maskable(numbers_L, words.ids_BL[row], words.words_B[row], draws_BN[row, 1:])
        if not candidates:
            continue
        budget = max(1, math.floor(settings.budget * np.count_nonzero(numbers_L >= 0) + 0.5))
        chosen: list[_Candidate] = []
        if settings.selector != "random":
            assert scores is not None, "a selector of keywords comes with its scores"
            scores_W = scores[row]
            # Rounded by a draw, or a text with a budget of one token would have keywords always or never.
            quota = math.floor(settings.keyword_share * budget + draws_BN[row, 0])
            chosen = _filled(chosen, sorted(candidates, key=lambda word: (-scores_W[word.number], word.draw)), quota)
        chosen = _filled(chosen, sorted(candidates, key=lambda word: word.draw), budget)
        for word in chosen:
            is_masked_BL[row, word.tokens] = True
    return is_masked_BL


def mask_tokens(
    ids_BL: NDArray[np.int32],
    is_masked_BL: NDArray[np.bool_],
    draws_BN: NDArray[np.float64],
    vocabulary_size: int,
    settings: KeywordSettings,
) -> NDArray[np.int32]:
    """Put [MASK], a random ordinary token or the token itself in the place of each masked token.

    Args:
        draws_BN: uniforms, N = 2 L: for each token what happens to it, and which random token it becomes.
        vocabulary_size: entries of a tokenizer that has [MASK].

    Source: Devlin et al. 2019, 80/10/10.
    """
    assert vocabulary_size > NUM_SPECIAL, "a trained tokenizer has ordinary tokens"
    what_BL, which_BL = draws_BN[:, 0::2], draws_BN[:, 1::2]
    random_BL = NUM_SPECIAL + (which_BL * (vocabulary_size - NUM_SPECIAL)).astype(np.int32)
    becomes_mask = is_masked_BL & (what_BL < settings.mask_share)
    becomes_random = is_masked_BL & ~becomes_mask & (what_BL < settings.mask_share + settings.random_share)
    return np.where(becomes_mask, MASK, np.where(becomes_random, random_BL, ids_BL)).astype(np.int32)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A word that may be masked, and the columns of its tokens."""

    number: int
    tokens: list[int]
    draw: float


def _maskable(
    numbers_L: NDArray[np.int32], ids_L: NDArray[np.int32], words: Sequence[str], draws_L: NDArray[np.float64]
) -> list[_Candidate]:
    tokens_of: dict[int, list[int]] = {}
    for column, number in enumerate(numbers_L.tolist()):
        tokens_of.setdefault(number, []).append(column)
    unknown = set(numbers_L[ids_L == UNKNOWN].tolist())
    return [
        _Candidate(number, tokens, float(draws_L[tokens[0]]))
        for number, tokens in tokens_of.items()
        if number >= 0 and number not in unknown and any(map(str.isalnum, words[number]))
    ]


def _filled(chosen: Sequence[_Candidate], order: Iterable[_Candidate], quota: int) -> list[_Candidate]:
    """Add words in their order, each that fits into the quota of tokens; the very first one fits into any but an empty quota."""
    filled = list(chosen)
    used = sum(len(word.tokens) for word in filled)
    for word in order:
        if word not in filled and quota > 0 and (not filled or used + len(word.tokens) <= quota):
            filled.append(word)
            used += len(word.tokens)
    return filled


def _united(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Unite the spans that share characters."""
    united: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if united and start < united[-1][1]:
            united[-1] = (united[-1][0], max(united[-1][1], end))
        else:
            united.append((start, end))
    return united
