"""Fusion of the towers: progressive over several depths, and its baselines that see the top only, behind one interface.

Legend: B batch, T tokens of all towers, K fusion queries, W width of the towers, D embedding dimension.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from reelspace.model.blocks import FusionBlock, masked_mean, normalised, run_block
from reelspace.model.settings import ModelSettings
from reelspace.model.towers import Tokens

NUM_TOWERS = 3


class AttentionFusion(nn.Module):
    """Fusion queries read the towers' tokens layer by layer and are pooled into one unit vector.

    Args:
        progressive: layer s reads the s-th tap of every tower, from low to high; off: every layer reads the last tokens.

    Source: z_s = z_{s-1} + MHA(z_{s-1}, [V_l(s); T_l(s); A_l(s)]) + FFN, with norms before each part.
    """

    def __init__(self, settings: ModelSettings, *, progressive: bool) -> None:
        super().__init__()
        width = settings.width
        self.progressive = progressive
        self.modality = nn.Parameter(torch.randn(NUM_TOWERS, width) * 0.02)
        self.queries = nn.Parameter(torch.randn(1, settings.fusion_queries, width) * 0.02)
        self.blocks = nn.ModuleList(FusionBlock(width, settings.num_heads, settings.mlp_ratio) for _ in range(settings.fusion_layers))
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, settings.dimension)
        self.checkpoints_activations = False

    def forward(self, towers: Sequence[Tokens]) -> Tensor:
        """Give unit vectors BD."""
        mask_BT = torch.cat([tower.mask_BT for tower in towers], dim=1)
        queries_BKW = self.queries.expand(mask_BT.shape[0], -1, -1)
        for scale, block in enumerate(self.blocks):
            taps = [tower.taps[scale if self.progressive else -1] for tower in towers]
            context_BTW = torch.cat([tap + self.modality[i] for i, tap in enumerate(taps)], dim=1)
            queries_BKW = run_block(block, queries_BKW, context_BTW, mask_BT, checkpoints=self.checkpoints_activations)
        return normalised(self.project(self.norm(queries_BKW).mean(dim=1)))


class ConcatFusion(nn.Module):
    """The towers' pooled top tokens side by side through an MLP with about as many weights as the attention layers have."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        width = settings.width
        num_weights = settings.fusion_layers * (4 + 2 * settings.mlp_ratio) * width * width + width * settings.dimension
        hidden = max(8, round(num_weights / (NUM_TOWERS * width + settings.dimension)))
        self.norm = nn.LayerNorm(NUM_TOWERS * width)
        self.up = nn.Linear(NUM_TOWERS * width, hidden)
        self.project = nn.Linear(hidden, settings.dimension)

    def forward(self, towers: Sequence[Tokens]) -> Tensor:
        """Give unit vectors BD."""
        pooled_BW = torch.cat([masked_mean(tower.tokens_BTD, tower.mask_BT) for tower in towers], dim=1)
        return normalised(self.project(functional.gelu(self.up(self.norm(pooled_BW)))))


def make_fusion(settings: ModelSettings) -> nn.Module:
    """Give the fusion that the settings name: called with the towers' tokens it gives unit vectors BD."""
    if settings.fusion == "concat":
        return ConcatFusion(settings)
    return AttentionFusion(settings, progressive=settings.fusion == "progressive")
