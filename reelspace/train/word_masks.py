"""The masks of one training: the corpus's words scored once, the words of each step's texts chosen by counter-based draws.

Legend: B texts, L tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reelspace.core.errors import UserError
from reelspace.model.checkpoint import load_model
from reelspace.model.tokenizer import Tokenizer
from reelspace.signals.segmentation import Segmenter
from reelspace.train.data import TrainData
from reelspace.train.keywords import KeywordSettings, MaskDraws, WordCutter, masked_texts
from reelspace.train.settings import TrainSettings
from reelspace.train.word_scores import WordFrequencies, attention_scores, tfidf_scores

_NO_SCORE: NDArray[np.float64] = np.zeros(0)


@dataclass(frozen=True, slots=True)
class KeywordMasks:
    """Chooses what is hidden of the texts of a corpus; `scores` has those of every text, none with the selector `random`."""

    tokenizer: Tokenizer
    cutter: WordCutter
    scores: Mapping[str, NDArray[np.float64]] | None
    settings: KeywordSettings
    seed: int

    def mask_BL(self, texts: Sequence[str], ids_B: NDArray[np.int64], step: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Give the tokens with the masked ones replaced, and which are masked; a work without text has none."""
        words = self.cutter.word_tokens(texts, self.tokenizer)
        scores = None if self.scores is None else [self.scores[text] if text else _NO_SCORE for text in texts]
        draws = MaskDraws.of(self.seed, step, ids_B, self.tokenizer.length)
        masked = masked_texts(words, scores, draws, self.tokenizer.size, self.settings)
        return masked.ids_BL, masked.is_masked_BL


def make_masks(data: TrainData, tokenizer: Tokenizer, settings: TrainSettings, previous: Path | None = None) -> KeywordMasks | None:
    """Give what masked language modelling hides; None where it has no weight.

    Args:
        previous: directory of the earlier teacher that the selector `attention` asks.

    Raises:
        UserError: the selector is `attention` and there is no earlier teacher.
    """
    if settings.objective.keywords == 0:
        return None
    cutter = WordCutter(Segmenter([text for _, text in data.label_names]))
    return KeywordMasks(tokenizer, cutter, _scores(data, cutter, settings, previous), settings.masks, settings.seed)


def _scores(
    data: TrainData, cutter: WordCutter, settings: TrainSettings, previous: Path | None
) -> Mapping[str, NDArray[np.float64]] | None:
    if settings.masks.selector == "random":
        return None
    texts = sorted(set(data.corpus))
    words_of = {text: cutter.words(text) for text in texts}
    frequencies = WordFrequencies.count(words_of[text] for text in data.corpus)
    if settings.masks.selector == "tfidf":
        return {text: tfidf_scores(words_of[text], frequencies) for text in texts}
    if previous is None:
        raise UserError("masks.selector is attention, which asks an earlier teacher: set previous to its id, or choose tfidf or random")
    model, its_tokenizer, _ = load_model(previous)
    return dict(zip(texts, attention_scores(texts, model, its_tokenizer, cutter, frequencies), strict=True))
