"""Scores of words against public references. Legend: B texts, L tokens, D width."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from reelspace.model.blocks import Block
from reelspace.model.model import ReelModel
from reelspace.model.tokenizer import Tokenizer
from reelspace.signals.segmentation import Segmenter
from reelspace.train.keywords import WordCutter
from reelspace.train.word_scores import WordFrequencies, attention_scores, received_attention_BL, tfidf_scores
from tests.unit.train.builders import MODEL

TEXTS = (
    "best camera lens",
    "my camera review",
    "微单相机怎么选",
    "相机推荐 camera camera",
    "",
    "unseenlongword lens lens tutorial again and again",
)


@pytest.fixture(scope="module")
def cutter() -> WordCutter:
    return WordCutter(Segmenter())


@pytest.fixture(scope="module")
def frequencies(cutter: WordCutter) -> WordFrequencies:
    return WordFrequencies.count(cutter.words(text) for text in TEXTS)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS * 2, 60, MODEL.text_length)


@pytest.fixture(scope="module")
def model() -> ReelModel:
    torch.manual_seed(3)
    model = ReelModel(MODEL.model_copy(update={"text_layers": 2, "vocabulary_size": 64})).eval()
    # Fresh weights attend almost evenly; larger ones tell a wrong scale or a wrong head from a right one.
    with torch.no_grad():
        for parameter in model.text.parameters():
            parameter.mul_(3)
    return model


def test_idf_is_the_logarithm_of_texts_over_texts_with_the_word(frequencies: WordFrequencies) -> None:
    assert frequencies.num_texts == 6
    assert frequencies.idf("camera") == pytest.approx(math.log(6 / 3))
    assert frequencies.idf("相机") == pytest.approx(math.log(6 / 2))
    assert frequencies.idf("review") == frequencies.idf("never written") == pytest.approx(math.log(6))


def test_tfidf_counts_uses_in_the_text(frequencies: WordFrequencies) -> None:
    words = ("相机", "推荐", "camera", "camera")
    expected = [math.log(3), math.log(6), 2 * math.log(2), 2 * math.log(2)]
    np.testing.assert_allclose(tfidf_scores(words, frequencies), expected)
    assert tfidf_scores((), frequencies).shape == (0,)


def reference_attention(model: ReelModel, text_BL: torch.Tensor) -> torch.Tensor:
    """The probabilities that torch's own attention layer gives with the last block's weights, mean over heads and present queries."""
    tower, mask_BL = model.text, text_BL != 0
    tokens_BLD = tower.token(text_BL.long()) + tower.position[:, : text_BL.shape[1]]
    *before, last = tower.tower.blocks
    assert isinstance(last, Block)
    for block in before:
        tokens_BLD = block(tokens_BLD, mask_BL)
    attention = nn.MultiheadAttention(model.settings.width, model.settings.num_heads, batch_first=True)
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([last.attention.query.weight, last.attention.key_value.weight]))
        attention.in_proj_bias.copy_(torch.cat([last.attention.query.bias, last.attention.key_value.bias]))
        normed = last.attention_norm(tokens_BLD)
        _, weights_BQK = attention(normed, normed, normed, key_padding_mask=~mask_BL, need_weights=True, average_attn_weights=True)
    return torch.stack([weights_QK[mask_L].mean(dim=0) for weights_QK, mask_L in zip(weights_BQK, mask_BL, strict=True)])


def test_received_attention_equals_that_of_torchs_own_attention_layer(model: ReelModel, tokenizer: Tokenizer) -> None:
    text_BL = torch.from_numpy(tokenizer.encode_BL([text for text in TEXTS if text])[0])
    received_BL, expected_BL = received_attention_BL(model.text, text_BL), reference_attention(model, text_BL)
    torch.testing.assert_close(received_BL, expected_BL, rtol=0, atol=1e-6)
    present = text_BL[0] != 0
    assert expected_BL[0][present].max() > 1.3 * expected_BL[0][present].min()


def test_a_texts_received_attention_sums_to_one_and_padding_gets_none(model: ReelModel, tokenizer: Tokenizer) -> None:
    text_BL = torch.from_numpy(tokenizer.encode_BL(TEXTS)[0])
    received_BL = received_attention_BL(model.text, text_BL)
    np.testing.assert_allclose(received_BL.sum(dim=1), [float(bool(text)) for text in TEXTS], atol=1e-6)
    assert received_BL[text_BL == 0].abs().max() == 0


def test_scores_are_attention_summed_over_the_pieces_of_a_word_times_idf(
    model: ReelModel, tokenizer: Tokenizer, cutter: WordCutter, frequencies: WordFrequencies
) -> None:
    scores = attention_scores(TEXTS, model, tokenizer, cutter, frequencies)
    for text, scores_W in zip(TEXTS, scores, strict=True):
        words = cutter.words(text)
        assert len(words) == len(scores_W)
        if not text:
            continue
        received_L = reference_attention(model, torch.from_numpy(tokenizer.encode_BL([text])[0]))[0].tolist()
        for word, score in zip(words, scores_W, strict=True):
            # A word has as many pieces in its text as alone; those beyond the model's length are not read.
            num_pieces = int(tokenizer.encode_BL([word])[1].sum())
            pieces, received_L = received_L[:num_pieces], received_L[num_pieces:]
            assert score == pytest.approx(sum(pieces) * frequencies.idf(word), abs=1e-6)


def test_a_word_beyond_the_earlier_models_length_scores_nothing(
    model: ReelModel, tokenizer: Tokenizer, cutter: WordCutter, frequencies: WordFrequencies
) -> None:
    (scores_W,) = attention_scores(["lens " * 10 + "camera"], model, tokenizer, cutter, frequencies)
    assert (scores_W[: MODEL.text_length] > 0).all()
    assert (scores_W[MODEL.text_length :] == 0).all()


def test_scoring_leaves_the_model_as_it_was(
    model: ReelModel, tokenizer: Tokenizer, cutter: WordCutter, frequencies: WordFrequencies
) -> None:
    model.train()
    attention_scores(TEXTS, model, tokenizer, cutter, frequencies)
    last = model.text.tower.blocks[-1]
    assert isinstance(last, Block)
    assert model.text.training
    assert not last.attention_norm._forward_hooks
    assert all(parameter.grad is None for parameter in model.parameters())
    model.eval()
