"""The pretraining objective: NT-Xent on picture views, video-text InfoNCE, multi-label loss.

Legend: B works of this process, G works of all processes, D embedding dimension, K labels, L text tokens.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from reelspace.model.blocks import normalised
from reelspace.model.model import ReelModel
from reelspace.train.batches import Batch
from reelspace.train.settings import ObjectiveSettings

Gather = Callable[[Tensor], Tensor]
# Sums over labels are about ten times the contrastive losses; this keeps the weights of the settings near 1.
_LABEL_SCALE = 0.1


def alone(x: Tensor) -> Tensor:
    """The gather of a single process."""
    return x


def mean_over_all(values_B: Tensor, counted_B: Tensor, gather: Gather) -> Tensor:
    """Give this process's part of the mean over every process's counted rows; averaged over processes it is that mean."""
    counted_G = gather(counted_B.float())
    num_processes = len(counted_G) / len(counted_B)
    return (values_B * counted_B).sum() / counted_G.sum().clamp(min=1) * num_processes


class PretrainObjective(nn.Module):
    """The model with what only training needs: projection head and label head."""

    def __init__(self, model: ReelModel, num_labels: int, settings: ObjectiveSettings) -> None:
        super().__init__()
        dimension = model.settings.dimension
        self.model = model
        self.settings = settings
        self.project = nn.Sequential(nn.Linear(dimension, dimension), nn.GELU(), nn.Linear(dimension, dimension))
        self.label_vectors = nn.Parameter(torch.randn(max(num_labels, 1), dimension) * 0.1)
        self.label_bias = nn.Parameter(torch.full((max(num_labels, 1),), -4.0))
        self.label_scale = nn.Parameter(torch.full((1,), 10.0))
        self.gather: Gather = alone
        self.rank = 0

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the loss of this process's rows and its parts."""
        embeddings, pictures = self._encode_views(batch)
        target_BD = self.model.encode_text(batch.target_BL, batch.target_mask_BL)
        conflicts_BG = self._conflicts_BG(batch)
        has_target_B, shown_B = batch.has_target_B, batch.picture_mask_BF[:, 0]
        sides = [*((embedding, has_target_B) for embedding in embeddings), (pictures[0], has_target_B & shown_B)]
        labelled = ((embeddings[0], 1.0), (pictures[1], 1.0), (target_BD, 0.5))
        parts = {
            "loss_nt_xent": self._nt_xent(pictures, shown_B),
            "loss_video_text": torch.stack([self._info_nce(side, target_BD, valid, conflicts_BG) for side, valid in sides]).mean(),
            "loss_labels": torch.stack([weight * self._multi_label(vectors, batch.labels_BK) for vectors, weight in labelled]).sum(),
        }
        settings = self.settings
        weights = (settings.nt_xent, settings.video_text, settings.labels)
        loss = torch.stack([weight * part for weight, part in zip(weights, parts.values(), strict=True)]).sum()
        return loss, parts

    def _encode_views(self, batch: Batch) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Embed both views; words and sound are read once, only the picture differs between the views."""
        num_views = len(batch.views_VBFHWC)
        picture = self.model.picture(batch.views_VBFHWC.flatten(0, 1), batch.picture_mask_BF.repeat(num_views, 1))
        text = self.model.text(batch.text_BL, batch.text_mask_BL).repeated(num_views)
        sound = self.model.sound(batch.mel_BWM, batch.audio_mask_B).repeated(num_views)
        both = self.model.fuse(picture, text, sound)
        return both.embedding_BD.chunk(num_views), both.picture_BD.chunk(num_views)

    def _conflicts_BG(self, batch: Batch) -> Tensor:
        """Pairs that must not repel: they share a cleaned label or the very text; the pair of a work with itself is none."""
        present_GK = self.gather((batch.labels_BK > 0).float())
        shared = (batch.labels_BK > 0).float() @ present_GK.T > 0
        same_text = batch.target_hash_B[:, None] == self.gather(batch.target_hash_B)[None, :]
        own = batch.ids_B[:, None] == self.gather(batch.ids_B)[None, :]
        return (shared | same_text) & ~own

    def _info_nce(self, video_BD: Tensor, text_BD: Tensor, valid_B: Tensor, conflicts_BG: Tensor) -> Tensor:
        """Symmetric InfoNCE of this process's rows against the rows of all."""
        valid_G = self.gather(valid_B.float()) > 0
        own_B = self._own_columns(len(valid_B))
        allowed = valid_G[None, :] & ~conflicts_BG
        losses = []
        for left, right in ((video_BD, text_BD), (text_BD, video_BD)):
            logits = left @ self.gather(right).T / self.settings.video_text_temperature
            rows = functional.cross_entropy(logits.masked_fill(~allowed, -1e4), own_B, reduction="none")
            losses.append(mean_over_all(rows, valid_B, self.gather))
        return torch.stack(losses).mean()

    def _nt_xent(self, views: Sequence[Tensor], valid_B: Tensor) -> Tensor:
        """NT-Xent on 2N views, intra-view negatives included (Chen et al. 2020, SimCLR)."""
        one, two = (normalised(self.project(view)) for view in views)
        all_one, all_two = self.gather(one), self.gather(two)
        valid_G = self.gather(valid_B.float()) > 0
        own_B = self._own_columns(len(valid_B))
        itself = functional.one_hot(own_B, len(valid_G)).bool()
        losses = []
        for left, same, other in ((one, all_one, all_two), (two, all_two, all_one)):
            logits = torch.cat([left @ other.T, (left @ same.T).masked_fill(itself, -1e4)], dim=1) / self.settings.nt_xent_temperature
            logits = logits.masked_fill(~torch.cat([valid_G, valid_G])[None, :], -1e4)
            rows = functional.cross_entropy(logits, own_B, reduction="none")
            losses.append(mean_over_all(rows, valid_B, self.gather))
        return torch.stack(losses).mean()

    def _multi_label(self, vectors_BD: Tensor, labels_BK: Tensor) -> Tensor:
        """Weighted BCE on labelled works: an unlabelled work says nothing, so it is not punished."""
        num_labels = labels_BK.shape[1]
        if num_labels == 0:
            return (vectors_BD.sum() + self.label_vectors.sum() + self.label_bias.sum() + self.label_scale.sum()) * 0
        logits = self.label_scale * vectors_BD @ normalised(self.label_vectors).T + self.label_bias
        target = (labels_BK > 0).float()
        weight = torch.where(labels_BK > 0, labels_BK * self.settings.positive_weight, torch.ones_like(labels_BK))
        rows = (functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).sum(dim=1)
        labelled = (target.sum(dim=1) > 0) & (vectors_BD.detach().abs().sum(dim=1) > 0)
        return mean_over_all(rows, labelled, self.gather) * _LABEL_SCALE

    def _own_columns(self, num: int) -> Tensor:
        return torch.arange(num) + self.rank * num
