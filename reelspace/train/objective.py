"""The pretraining objective: every loss of the model, each with its weight; a weight of 0 switches it off.

Legend: B works of this process, G works of all processes, D embedding dimension, S labels of the batch, L text tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reelspace.model.blocks import normalised
from reelspace.model.losses import Gather, Rows, alone, info_nce, masked_language, matryoshka_info_nce, multi_label, nt_xent
from reelspace.model.masked_language import MaskedLanguageHead
from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings
from reelspace.model.towers import Tokens
from reelspace.train.batches import Batch
from reelspace.train.label_head import LabelHead
from reelspace.train.settings import ObjectiveSettings

# Sums over labels are about ten times the contrastive losses; this keeps the weights of the settings near 1.
_LABEL_SCALE = 0.1


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A batch as the losses see it: both views' vectors, the first view's picture tokens, the sound, the text side, and what may pair."""

    embeddings: tuple[Tensor, ...]
    pictures: tuple[Tensor, ...]
    first_picture: Tokens
    sound: Tokens
    target_BD: Tensor
    shown_B: Tensor
    conflicts_BG: Tensor


class PretrainObjective(nn.Module):
    """The model with what only training needs: projection head, label head, head of masked language modelling."""

    def __init__(self, model: ReelModel, label_head: LabelHead | None, settings: ObjectiveSettings) -> None:
        super().__init__()
        sizes = model.settings
        self.model = model
        self.settings = settings
        self.label_head = label_head
        self.project = projection_head(sizes.dimension) if settings.nt_xent else None
        self.masked_language = masked_language_head(sizes) if settings.keywords else None
        self.prefixes = tuple(prefix for prefix in settings.matryoshka if prefix < sizes.dimension)
        self.gather: Gather = alone
        self.rank = 0
        self.measure = False
        self.part_gradients: dict[str, Tensor] = {}

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the loss of this process's rows and its parts, which are without their weights."""
        if self.label_head is not None and batch.step % self.settings.refresh_labels_every == 0:
            self.label_head.refresh(self.model.encode_text)
        encoded = self._encode(batch)
        settings, rows = self.settings, Rows(self.gather, self.rank)
        losses: dict[str, tuple[float, Callable[[Batch, _Encoded, Rows], Tensor]]] = {
            "nt_xent": (settings.nt_xent, self._nt_xent),
            "video_text": (settings.video_text, self._video_text),
            "video_sound": (settings.video_sound, self._video_sound),
            "keywords": (settings.keywords, self._keywords),
            "labels": (settings.labels if self.label_head is not None else 0.0, self._labels),
        }
        parts = {f"loss_{name}": loss(batch, encoded, rows) for name, (weight, loss) in losses.items() if weight}
        self.part_gradients = {name: self._gradient(part) for name, part in parts.items()} if self.measure else {}
        weights = [weight for weight, _ in losses.values() if weight]
        return torch.stack([weight * part for weight, part in zip(weights, parts.values(), strict=True)]).sum(), parts

    def shared_weights(self) -> list[Tensor]:
        """The scales at the top of the towers, which every loss reads through: where the gradients of the losses are compared."""
        return [tower.tower.norm.weight for tower in (self.model.picture, self.model.text, self.model.sound)]

    def _gradient(self, part: Tensor) -> Tensor:
        """Give the gradient of one part at the shared weights, in one row of numbers; the graph stays for the backward pass."""
        weights = self.shared_weights()
        found = torch.autograd.grad(part, weights, retain_graph=True, allow_unused=True)
        gradients = [torch.zeros_like(weight) if grad is None else grad for weight, grad in zip(weights, found, strict=True)]
        return torch.cat([gradient.flatten() for gradient in gradients])

    def _encode(self, batch: Batch) -> _Encoded:
        """Embed both views; words and sound are read once, only the picture differs between the views."""
        num_views = len(batch.views_VBFHWC)
        picture = self.model.picture(batch.views_VBFHWC.flatten(0, 1), batch.picture_mask_BF.repeat(num_views, 1))
        sound = self.model.sound(batch.mel_BWM, batch.audio_mask_B)
        text = self.model.text(batch.text_BL, batch.text_mask_BL)
        both = self.model.fuse(picture, text.repeated(num_views), sound.repeated(num_views))
        return _Encoded(
            both.embedding_BD.chunk(num_views),
            both.picture_BD.chunk(num_views),
            picture.first(len(batch.ids_B)),
            sound,
            self.model.encode_text(batch.target_BL, batch.target_mask_BL),
            batch.picture_mask_BF[:, 0],
            self._conflicts_BG(batch),
        )

    def _conflicts_BG(self, batch: Batch) -> Tensor:
        """Pairs that must not repel: they share a cleaned label or the very text; the pair of a work with itself is none."""
        present_GS = self.gather((batch.labels_BS > 0).float())
        shared = (batch.labels_BS > 0).float() @ present_GS.T > 0
        same_text = batch.target_hash_B[:, None] == self.gather(batch.target_hash_B)[None, :]
        own = batch.ids_B[:, None] == self.gather(batch.ids_B)[None, :]
        return (shared | same_text) & ~own

    def _nt_xent(self, batch: Batch, encoded: _Encoded, rows: Rows) -> Tensor:
        assert self.project is not None, "made where the loss has a weight"
        one, two = (normalised(self.project(view)) for view in encoded.pictures)
        return nt_xent(one, two, encoded.shown_B, self.settings.nt_xent_temperature, rows)

    def _video_text(self, batch: Batch, encoded: _Encoded, rows: Rows) -> Tensor:
        has_target_B, temperature = batch.has_target_B, self.settings.video_text_temperature
        sides = [*((embedding, has_target_B) for embedding in encoded.embeddings), (encoded.pictures[0], has_target_B & encoded.shown_B)]
        losses = [
            matryoshka_info_nce(side, encoded.target_BD, self.prefixes, valid_B, encoded.conflicts_BG, temperature, rows)
            for side, valid_B in sides
        ]
        return torch.stack(losses).mean()

    def _video_sound(self, batch: Batch, encoded: _Encoded, rows: Rows) -> Tensor:
        valid_B = batch.audio_mask_B & encoded.shown_B
        temperature = self.settings.video_sound_temperature
        return info_nce(encoded.pictures[0], encoded.sound.vector_BD, valid_B, encoded.conflicts_BG, temperature, rows)

    def _keywords(self, batch: Batch, encoded: _Encoded, rows: Rows) -> Tensor:
        """Predict the hidden words of the text side from its other words and the picture."""
        assert self.masked_language is not None, "made where the loss has a weight"
        text = self.model.text(batch.masked_BL, batch.masked_BL != 0)
        picture = encoded.first_picture
        logits_NV = self.masked_language(
            text.tokens_BTD, picture.tokens_BTD, picture.mask_BT, batch.is_masked_BL, self.model.text.token.weight
        )
        return masked_language(logits_NV, batch.unmasked_BL[batch.is_masked_BL].long(), rows)

    def _labels(self, batch: Batch, encoded: _Encoded, rows: Rows) -> Tensor:
        """Weighted BCE on labelled works: an unlabelled work says nothing, so it is not punished."""
        assert self.label_head is not None, "its weight is 0 without a head"
        labelled_B = (batch.labels_BS > 0).any(dim=1)
        classifiers_SD = self.label_head.classifiers(batch.label_columns_S, self.model.encode_text)
        terms = []
        for vectors_BD, weight in ((encoded.embeddings[0], 1.0), (encoded.pictures[1], 1.0), (encoded.target_BD, 0.5)):
            logits_BS = self.label_head.logits_BS(vectors_BD, classifiers_SD, batch.label_columns_S)
            counted_B = labelled_B & (vectors_BD.detach().abs().sum(dim=1) > 0)
            positive_weight = self.settings.positive_weight
            terms.append(weight * multi_label(logits_BS, batch.labels_BS, batch.negative_weights_BS, counted_B, positive_weight, rows))
        return torch.stack(terms).sum() * _LABEL_SCALE


def masked_language_head(sizes: ModelSettings) -> MaskedLanguageHead:
    """Give the head that tells hidden words, of the model's sizes."""
    return MaskedLanguageHead(sizes.width, sizes.num_heads, sizes.mlp_ratio, sizes.vocabulary_size)


def projection_head(dimension: int) -> nn.Sequential:
    """Give the three-layer head of SimCLR v2 (Chen et al., 2020b, section 2), with which contrastive views are compared."""
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [nn.Linear(dimension, dimension), nn.LayerNorm(dimension), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(dimension, dimension))
