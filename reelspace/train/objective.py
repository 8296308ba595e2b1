"""The pretraining objective: every loss of the model, each with its weight; a weight of 0 switches it off.

Legend: B works of this process, G works of all processes, D embedding dimension, S labels of the batch, L text tokens.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from reelspace.model.blocks import normalised
from reelspace.model.losses import Rows, info_nce, masked_language, matryoshka_info_nce, multi_label, nt_xent, token_losses
from reelspace.model.masked_language import MaskedLanguageHead
from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings
from reelspace.model.towers import Tokens
from reelspace.train.batches import Batch
from reelspace.train.label_head import LabelHead, label_logits
from reelspace.train.objective_base import Encoded, Objective
from reelspace.train.replayed import KeptVectors
from reelspace.train.settings import ObjectiveSettings

# Sums over labels are about ten times the contrastive losses; this keeps the weights of the settings near 1.
_LABEL_SCALE = 0.1


class PretrainObjective(Objective):
    """The model with what only training needs: projection head, label head, head of masked language modelling."""

    def __init__(
        self, model: ReelModel, label_head: LabelHead | None, settings: ObjectiveSettings, kept: KeptVectors | None = None
    ) -> None:
        super().__init__()
        sizes = model.settings
        self.model = model
        self.settings = settings
        self.label_head = label_head
        self.kept = kept
        """What an earlier teacher says of works that are replayed; None: nothing is."""
        self.project = projection_head(sizes.dimension) if settings.nt_xent else None
        self.masked_language = masked_language_head(sizes) if settings.keywords else None
        self.prefixes = tuple(prefix for prefix in settings.matryoshka if prefix < sizes.dimension)

    def begin(self, batch: Batch) -> None:
        """Read the labels' texts anew where the schedule says so."""
        if self.label_head is not None and batch.step % self.settings.refresh_labels_every == 0:
            self.label_head.refresh(self.model.encode_text)

    def encode(self, batch: Batch) -> Encoded:
        """Embed both views; words and sound are read once, only the picture differs between the views."""
        num_views = len(batch.views_VBFHWC)
        picture = self.model.picture(batch.views_VBFHWC.flatten(0, 1), batch.picture_mask_BF.repeat(num_views, 1))
        sound = self.model.sound(batch.mel_BWM, batch.audio_mask_B)
        text = self.model.text(batch.text_BL, batch.text_mask_BL)
        both = self.model.fuse(picture, text.repeated(num_views), sound.repeated(num_views))
        encoded = {"sound": sound.vector_BD, "target": self.model.encode_text(batch.target_BL, batch.target_mask_BL)}
        views = zip(both.embedding_BD.chunk(num_views), both.picture_BD.chunk(num_views), strict=True)
        for view, (embedding_BD, picture_BD) in enumerate(views):
            encoded |= {f"embedding_{view}": embedding_BD, f"picture_{view}": picture_BD}
            if self.project is not None:
                encoded[f"projected_{view}"] = normalised(self.project(picture_BD))
        if self.masked_language is not None:
            encoded["keywords"] = self._keyword_losses(batch, picture.first(len(batch.ids_B)))
        return encoded

    def shared(self, batch: Batch) -> Encoded:
        """Give the classifiers and biases of the labels that the batch asks about, and the scale of their logits."""
        head = self.label_head
        if head is None:
            return {}
        columns_S = batch.label_columns_S
        # A clone: where the weights are spread over processes, a parameter itself is gone before the way back.
        return {
            "classifiers": head.classifiers(columns_S, self.model.encode_text),
            "biases": head.biases(columns_S),
            "scale": head.scale.clone(),
        }

    def losses(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the loss of this process's rows and its parts, which are without their weights."""
        settings, rows = self.settings, Rows(self.gather, self.rank)
        conflicts_BG = self._conflicts_BG(batch)
        losses: dict[str, tuple[float, Callable[[], Tensor]]] = {
            "nt_xent": (settings.nt_xent, lambda: self._nt_xent(encoded, batch, rows)),
            "video_text": (settings.video_text, lambda: self._video_text(encoded, batch, conflicts_BG, rows)),
            "video_sound": (settings.video_sound, lambda: self._video_sound(encoded, batch, conflicts_BG, rows)),
            "keywords": (settings.keywords, lambda: masked_language(encoded["keywords"], batch.is_masked_BL.sum(dim=1), rows)),
            "labels": (settings.labels if self.label_head is not None else 0.0, lambda: self._labels(encoded, batch, rows)),
        }
        if self.kept is not None:
            kept = self.kept
            losses["kept"] = (kept.weight, lambda: kept.loss(encoded, batch, rows))
        parts = {f"loss_{name}": loss() for name, (weight, loss) in losses.items() if weight}
        weights = [weight for weight, _ in losses.values() if weight]
        return torch.stack([weight * part for weight, part in zip(weights, parts.values(), strict=True)]).sum(), parts

    def shared_weights(self) -> list[Tensor]:
        """Give the scales at the top of the towers."""
        return [tower.tower.norm.weight for tower in (self.model.picture, self.model.text, self.model.sound)]

    def _conflicts_BG(self, batch: Batch) -> Tensor:
        """Pairs that must not repel: they share a cleaned label or the very text; the pair of a work with itself is none."""
        present_GS = self.gather((batch.labels_BS > 0).float())
        shared = (batch.labels_BS > 0).float() @ present_GS.T > 0
        same_text = batch.target_hash_B[:, None] == self.gather(batch.target_hash_B)[None, :]
        own = batch.ids_B[:, None] == self.gather(batch.ids_B)[None, :]
        return (shared | same_text) & ~own

    def _nt_xent(self, encoded: Encoded, batch: Batch, rows: Rows) -> Tensor:
        one, two = encoded["projected_0"], encoded["projected_1"]
        return nt_xent(one, two, batch.picture_mask_BF[:, 0], self.settings.nt_xent_temperature, rows)

    def _video_text(self, encoded: Encoded, batch: Batch, conflicts_BG: Tensor, rows: Rows) -> Tensor:
        has_target_B, temperature = batch.has_target_B, self.settings.video_text_temperature
        is_shown_B = has_target_B & batch.picture_mask_BF[:, 0]
        sides = [("embedding_0", has_target_B), ("embedding_1", has_target_B), ("picture_0", is_shown_B)]
        losses = [
            matryoshka_info_nce(encoded[name], encoded["target"], self.prefixes, valid_B, conflicts_BG, temperature, rows)
            for name, valid_B in sides
        ]
        return torch.stack(losses).mean()

    def _video_sound(self, encoded: Encoded, batch: Batch, conflicts_BG: Tensor, rows: Rows) -> Tensor:
        valid_B = batch.audio_mask_B & batch.picture_mask_BF[:, 0]
        temperature = self.settings.video_sound_temperature
        return info_nce(encoded["picture_0"], encoded["sound"], valid_B, conflicts_BG, temperature, rows)

    def _keyword_losses(self, batch: Batch, picture: Tokens) -> Tensor:
        """Predict the hidden words of the text side from its other words and the picture."""
        assert self.masked_language is not None, "the caller looked"
        text = self.model.text(batch.masked_BL, batch.masked_BL != 0)
        logits_NV = self.masked_language(
            text.tokens_BTD, picture.tokens_BTD, picture.mask_BT, batch.is_masked_BL, self.model.text.token.weight
        )
        return token_losses(logits_NV, batch.unmasked_BL[batch.is_masked_BL].long(), batch.is_masked_BL)

    def _labels(self, encoded: Encoded, batch: Batch, rows: Rows) -> Tensor:
        """Weighted BCE on labelled works: an unlabelled work says nothing, so it is not punished."""
        labelled_B = (batch.labels_BS > 0).any(dim=1)
        terms = []
        for name, weight in (("embedding_0", 1.0), ("picture_1", 1.0), ("target", 0.5)):
            vectors_BD = encoded[name].float()
            logits_BS = label_logits(vectors_BD, encoded["classifiers"], encoded["biases"], encoded["scale"])
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
