"""The one Transformer block of all towers, and the cross-attention of the fusion.

Legend: B batch, T tokens, D width, K fusion queries.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


class Attention(nn.Module):
    """Multi-head attention of queries over a context with missing tokens masked."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, queries_BTD: Tensor, context_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """Attend; a row whose context is all masked gives a finite vector (the mask is lifted there, callers discard it)."""
        batch, num_queries, width = queries_BTD.shape
        heads = self.num_heads
        query = self.query(queries_BTD).reshape(batch, num_queries, heads, -1).transpose(1, 2)
        key, value = (
            part.reshape(batch, -1, heads, width // heads).transpose(1, 2) for part in self.key_value(context_BSD).chunk(2, dim=-1)
        )
        allowed = mask_BS | ~mask_BS.any(dim=1, keepdim=True)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed[:, None, None, :])
        answers_BTD: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, num_queries, width))
        return answers_BTD


class Mlp(nn.Module):
    """Two layers with GELU between."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        self.up = nn.Linear(width, int(width * ratio))
        self.down = nn.Linear(int(width * ratio), width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Apply to each token."""
        y_BTD: Tensor = self.down(functional.gelu(self.up(x_BTD)))
        return y_BTD


class Block(nn.Module):
    """Pre-norm Transformer block, the same class in every tower."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, num_heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = Mlp(width, mlp_ratio)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Mix tokens, then channels."""
        normed = self.attention_norm(x_BTD)
        x_BTD = x_BTD + self.attention(normed, normed, mask_BT)
        x_BTD = x_BTD + self.mlp(self.mlp_norm(x_BTD))
        return x_BTD


class FusionBlock(nn.Module):
    """Fusion queries read the towers' tokens and carry on."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(width)
        self.context_norm = nn.LayerNorm(width)
        self.attention = Attention(width, num_heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = Mlp(width, mlp_ratio)

    def forward(self, queries_BKD: Tensor, context_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """One step of cross-attention."""
        queries_BKD = queries_BKD + self.attention(self.query_norm(queries_BKD), self.context_norm(context_BSD), mask_BS)
        queries_BKD = queries_BKD + self.mlp(self.mlp_norm(queries_BKD))
        return queries_BKD


class ConvolutionBlock(nn.Module):
    """Residual 3x3 convolution and 1x1 convolution on a grid of tokens: the baseline of `Block`, of equal FLOPs per token.

    A Transformer block of width d and MLP ratio r multiplies (4 + 2r) d^2 numbers per token, attention scores apart;
    the two convolutions with h channels between multiply 10 d h.
    """

    def __init__(self, width: int, mlp_ratio: float, side: int) -> None:
        super().__init__()
        self.side = side
        hidden = max(1, round(width * (4 + 2 * mlp_ratio) / 10))
        self.norm = nn.LayerNorm(width)
        self.spread = nn.Conv2d(width, hidden, 3, padding=1)
        self.join = nn.Conv2d(hidden, width, 1)

    def forward(self, x_BTD: Tensor, _mask_BT: Tensor) -> Tensor:
        """Mix neighbours, then channels; every token of a frame is present."""
        grid = self.norm(x_BTD).transpose(1, 2).unflatten(2, (self.side, self.side))
        x_BTD = x_BTD + self.join(functional.gelu(self.spread(grid))).flatten(2).transpose(1, 2)
        return x_BTD


def run_block(block: nn.Module, *inputs: Tensor, checkpoints: bool) -> Tensor:
    """Run a block; with `checkpoints` its activations are computed anew on the way back in place of being kept."""
    if checkpoints and torch.is_grad_enabled():
        again_BTD: Tensor = checkpoint(block, *inputs, use_reentrant=False)
        return again_BTD
    x_BTD: Tensor = block(*inputs)
    return x_BTD


def masked_mean(tokens_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Average the present tokens; zero where none is present."""
    weights = mask_BT.to(tokens_BTD.dtype)[:, :, None]
    return (tokens_BTD * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def normalised(x_BD: Tensor) -> Tensor:
    """Scale rows to length 1; a zero row stays zero."""
    return x_BD / torch.sqrt((x_BD * x_BD).sum(dim=-1, keepdim=True) + 1e-12)
