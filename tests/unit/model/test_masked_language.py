"""The masked language head: reads only what is seen, tells only what is masked.

Legend: B works, L text tokens, T context tokens, D width, N masked tokens, V vocabulary, K hidden words.
"""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from reelspace.model.masked_language import MaskedLanguageHead

WIDTH, VOCABULARY = 16, 30


@pytest.fixture(autouse=True)
def _one_thread_and_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def make_head() -> MaskedLanguageHead:
    return MaskedLanguageHead(WIDTH, 2, 2.0, VOCABULARY)


def make_inputs() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Three works of 5 text tokens and 4 context tokens; the last work shows nothing."""
    context_mask_BT = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]]).bool()
    is_masked_BL = torch.tensor([[0, 1, 0, 0, 1], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]]).bool()
    token_weight_VD = torch.randn(VOCABULARY, WIDTH, requires_grad=True)
    return torch.randn(3, 5, WIDTH), torch.randn(3, 4, WIDTH), context_mask_BT, is_masked_BL, token_weight_VD


def layer_norm(x: np.ndarray, layer: nn.LayerNorm) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + layer.eps)
    return scaled * layer.weight.detach().numpy() + layer.bias.detach().numpy()


def test_logits_are_normed_dense_gelu_times_the_token_embedding_in_the_order_of_the_masked_tokens() -> None:
    head, (text, context, context_mask, is_masked, weight) = make_head(), make_inputs()
    nn.init.normal_(head.bias_V)
    logits = head(text, context, context_mask, is_masked, weight)
    expected = []
    for row, column in ((0, 1), (0, 4), (2, 0)):
        seen = torch.cat([head.nothing_seen[0], context[row][context_mask[row]]])[None]
        read = head.context(text[row : row + 1, column : column + 1], seen, torch.ones(seen.shape[:2]).bool())[0, 0].detach().numpy()
        dense = layer_norm(read, head.norm) @ head.dense.weight.detach().numpy().T + head.dense.bias.detach().numpy()
        gelu = dense * 0.5 * (1 + torch.erf(torch.from_numpy(dense / np.sqrt(2))).numpy())
        expected.append(layer_norm(gelu, head.dense_norm) @ weight.detach().numpy().T + head.bias_V.detach().numpy())
    np.testing.assert_allclose(logits.detach().numpy(), np.stack(expected), atol=1e-5)


def test_hidden_context_changes_nothing_and_seen_context_does() -> None:
    head, (text, context, context_mask, is_masked, weight) = make_head(), make_inputs()
    logits = head(text, context, context_mask, is_masked, weight)
    other_hidden = torch.where(context_mask[:, :, None], context, torch.randn_like(context) * 100)
    torch.testing.assert_close(head(text, other_hidden, context_mask, is_masked, weight), logits)
    other_seen = torch.where(context_mask[:, :, None], context + torch.randn_like(context), context)
    changed = head(text, other_seen, context_mask, is_masked, weight)
    assert (changed - logits).abs().amax(dim=1)[:2].min() > 1e-3
    torch.testing.assert_close(changed[2], logits[2])


def test_without_masked_tokens_every_parameter_has_a_zero_gradient_not_none() -> None:
    head, (text, context, context_mask, is_masked, weight) = make_head(), make_inputs()
    logits = head(text, context, context_mask, torch.zeros_like(is_masked), weight)
    assert logits.shape == (0, VOCABULARY)
    functional.cross_entropy(logits, torch.zeros(0, dtype=torch.int64), reduction="sum").backward()
    for gradient in (weight.grad, *(parameter.grad for parameter in head.parameters())):
        assert gradient is not None
        assert (gradient == 0).all()


def test_gradients_are_those_of_finite_differences() -> None:
    head, inputs = make_head().double(), make_inputs()
    text, context, context_mask, is_masked, weight = (
        tensor.detach().double() if tensor.is_floating_point() else tensor for tensor in inputs
    )

    def logits_of(text: Tensor, context: Tensor, weight: Tensor) -> Tensor:
        logits: Tensor = head(text, context, context_mask, is_masked, weight)
        return logits

    points = [tensor.requires_grad_() for tensor in (text, context, weight)]
    # The fast mode compares the Jacobian along random directions.
    assert torch.autograd.gradcheck(logits_of, points, fast_mode=True)


def test_the_head_learns_a_word_that_only_the_picture_tells() -> None:
    """Works say "3 [MASK] 4"; the hidden word is one of four, told by one of three context tokens, noise around it."""
    head, token = make_head(), nn.Embedding(VOCABULARY, WIDTH)
    nn.init.normal_(token.weight, std=0.05)
    signs_KD = torch.randn(4, WIDTH)
    optimizer = torch.optim.Adam([*head.parameters(), *token.parameters()], lr=3e-3)

    def works(num: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        word_B = torch.randint(4, (num,), generator=generator)
        context_BTD = torch.randn(num, 3, WIDTH, generator=generator) * 0.3
        context_BTD[torch.arange(num), torch.randint(3, (num,), generator=generator)] += signs_KD[word_B]
        text_BL = torch.tensor([[3, 2, 4]]).expand(num, -1)
        return text_BL, context_BTD, text_BL == 2, word_B + 10

    def logits_of(text_BL: Tensor, context_BTD: Tensor, is_masked_BL: Tensor, *, is_seen: bool = True) -> Tensor:
        mask_BT = torch.full(context_BTD.shape[:2], is_seen)
        logits: Tensor = head(token(text_BL), context_BTD, mask_BT, is_masked_BL, token.weight)
        return logits

    for step in range(150):
        *inputs, word_N = works(32, step)
        optimizer.zero_grad()
        functional.cross_entropy(logits_of(*inputs), word_N).backward()
        optimizer.step()
    *inputs, word_N = works(400, 10_000)
    with torch.no_grad():
        seen, unseen = ((logits_of(*inputs, is_seen=is_seen).argmax(dim=1) == word_N).float().mean() for is_seen in (True, False))
    assert seen > 0.95
    # Without the picture one word of the four is guessed for every work.
    assert unseen < 0.35
