"""How much each word of a text says: TF-IDF, or the attention an earlier model pays to it times IDF.

Scores of a text never change during a training: callers compute them once per distinct text.
Legend: B texts, L tokens, W words of one text, H heads, Q query tokens, K key tokens, D width, E width of a head.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reelspace.model.blocks import Attention, Block
from reelspace.model.model import ReelModel
from reelspace.model.tokenizer import Tokenizer
from reelspace.model.towers import TextTower
from reelspace.train.keywords import WordCutter

_CHUNK = 256


@dataclass(frozen=True, slots=True)
class WordFrequencies:
    """In how many texts of the corpus each word stands."""

    num_texts: int
    num_texts_of: Mapping[str, int]

    @classmethod
    def count(cls, words_per_text: Iterable[Sequence[str]]) -> Self:
        """Read the corpus once."""
        counts: Counter[str] = Counter()
        num_texts = 0
        for words in words_per_text:
            counts.update(set(words))
            num_texts += 1
        return cls(num_texts, counts)

    def idf(self, word: str) -> float:
        """Give log(texts / texts with the word), natural; a word the corpus lacks counts as standing in one text."""
        return math.log(max(1, self.num_texts) / max(1, self.num_texts_of.get(word, 0)))


def tfidf_scores(words: Sequence[str], frequencies: WordFrequencies) -> NDArray[np.float64]:
    """Score the W words of a text: uses in the text times IDF; a repeated word has its score at every use."""
    uses = Counter(words)
    return np.array([uses[word] * frequencies.idf(word) for word in words], dtype=np.float64)


def attention_scores(
    texts: Sequence[str], model: ReelModel, tokenizer: Tokenizer, cutter: WordCutter, frequencies: WordFrequencies
) -> tuple[NDArray[np.float64], ...]:
    """Score the words of texts by the attention they receive in an earlier model, summed over a word's pieces, times IDF.

    Args:
        model: the earlier model; only its text tower is run, in evaluation mode.
        tokenizer: the earlier model's own; scores are told by word, so that any other tokenizer can use them.

    Returns:
        one score per word of `cutter.words(text)`; words beyond the earlier model's text length have 0.

    Source: the attention selector of MASKER (Moon et al. 2020), with the mean over queries in place of [CLS]: our towers pool by mean.
    """
    scores: list[NDArray[np.float64]] = []
    for first in range(0, len(texts), _CHUNK):
        tokens = cutter.word_tokens(texts[first : first + _CHUNK], tokenizer)
        received_BL = received_attention_BL(model.text, torch.from_numpy(tokens.ids_BL)).double().cpu().numpy()
        for row, words in enumerate(tokens.words_B):
            present = tokens.word_BL[row] >= 0
            sums_W = np.bincount(tokens.word_BL[row, present], weights=received_BL[row, present], minlength=len(words))
            idf_W = np.array([frequencies.idf(word) for word in words], dtype=np.float64)
            scores.append(np.asarray(sums_W * idf_W, dtype=np.float64))
    return tuple(scores)


@torch.no_grad()
def received_attention_BL(tower: TextTower, text_BL: Tensor) -> Tensor:
    """Give the attention each token receives in the tower's last block: mean over heads and over the present query tokens.

    Returns:
        float [B, L]; a text's present tokens sum to 1, padding has 0.
    """
    last = tower.tower.blocks[-1]
    assert isinstance(last, Block), "towers are made of blocks"
    text_BL = text_BL.to(tower.position.device)
    mask_BL = text_BL != 0
    probabilities_BHQK = _probabilities_BHQK(last.attention, _normed_BLD(tower, last, text_BL, mask_BL), mask_BL)
    weights_BQ = mask_BL.float() / mask_BL.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.einsum("bqk,bq->bk", probabilities_BHQK.mean(dim=1), weights_BQ)


def _normed_BLD(tower: TextTower, last: Block, text_BL: Tensor, mask_BL: Tensor) -> Tensor:
    """Run the tower and give what its last block's attention reads."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], normed_BLD: Tensor) -> None:
        seen.append(normed_BLD)

    was_training = tower.training
    handle = last.attention_norm.register_forward_hook(keep)
    try:
        tower.eval()(text_BL, mask_BL)
    finally:
        handle.remove()
        tower.train(was_training)
    return seen[0]


def _probabilities_BHQK(attention: Attention, normed_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """Compute what the block's fused kernel keeps to itself, from the block's own weights."""
    keys_BLD, _ = attention.key_value(normed_BLD).chunk(2, dim=-1)
    query_BHQE, key_BHKE = (
        part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in (attention.query(normed_BLD), keys_BLD)
    )
    logits_BHQK = query_BHQE @ key_BHKE.transpose(-1, -2) / math.sqrt(query_BHQE.shape[-1])
    allowed_BK = mask_BL | ~mask_BL.any(dim=1, keepdim=True)
    return torch.softmax(logits_BHQK.float().masked_fill(~allowed_BK[:, None, None, :], -torch.inf), dim=-1)
