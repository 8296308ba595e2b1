"""The head of masked language modelling: hidden words are told from the words around them and from what is seen.

Legend: B works, L text tokens, T context tokens, D width, N masked tokens, V vocabulary.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from reelspace.model.blocks import FusionBlock


class MaskedLanguageHead(nn.Module):
    """Text tokens read the visual context, then a dense layer and the token embedding itself as decoder (Devlin et al. 2019)."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: float, vocabulary_size: int) -> None:
        super().__init__()
        # A work whose picture is hidden reads this token, not the masked ones.
        self.nothing_seen = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.context = FusionBlock(width, num_heads, mlp_ratio)
        self.norm = nn.LayerNorm(width)
        self.dense = nn.Linear(width, width)
        self.dense_norm = nn.LayerNorm(width)
        self.bias_V = nn.Parameter(torch.zeros(vocabulary_size))

    def forward(
        self, text_BLD: Tensor, context_BTD: Tensor, context_mask_BT: Tensor, is_masked_BL: Tensor, token_weight_VD: Tensor
    ) -> Tensor:
        """Give the logits of the masked tokens.

        Args:
            text_BLD: the text tower's tokens of the masked text.
            context_BTD: visual tokens; those outside context_mask_BT are not read, and a work may have none.
            is_masked_BL: the N tokens to tell; N may be 0.
            token_weight_VD: the text tower's token embedding.

        Returns:
            logits_NV, in the order of `ids_BL[is_masked_BL]`. Every parameter takes part whatever N is, so the gradient of a sum of
            losses over no token is zero, not missing, and no process of a group waits for another.
        """
        batch = len(text_BLD)
        context = torch.cat([self.nothing_seen.expand(batch, -1, -1), context_BTD], dim=1)
        mask = functional.pad(context_mask_BT, (1, 0), value=True)
        tokens_ND = self.context(text_BLD, context, mask)[is_masked_BL]
        hidden_ND = self.dense_norm(functional.gelu(self.dense(self.norm(tokens_ND))))
        logits_NV: Tensor = functional.linear(hidden_ND, token_weight_VD, self.bias_V)
        return logits_NV
