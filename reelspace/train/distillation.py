"""Distillation: the student learns the teacher's vectors of the same view, so that it can query the teacher's index.

Legend: B works of this process, G works of all processes, D embedding dimension, K labels.
"""

import torch
from torch import Tensor
from torch.nn import functional

from reelspace.core.errors import SettingError
from reelspace.model.losses import Rows
from reelspace.model.model import ReelModel
from reelspace.train.batches import Batch
from reelspace.train.objective_base import Encoded, Objective
from reelspace.train.settings import DistillSettings
from reelspace.train.teacher_outputs import TeacherLabels, TeacherOutputs, TeacherRows
from reelspace.train.views import view_of

# Finite, so that a row of which nothing is known has a loss of 0 and no NaN on the way back.
_HIDDEN = -1e30
# How much a vector counts against the fused one, which is what an index holds.
_FEATURE_WEIGHTS = {"fused": 1.0, "picture": 0.5, "text": 0.5}


class DistillObjective(Objective):
    """The student, and the teacher's kept answers as targets (they are no part of the trained state)."""

    def __init__(self, student: ReelModel, outputs: TeacherOutputs, settings: DistillSettings) -> None:
        super().__init__()
        if student.settings.dimension != outputs.facts.dimension:
            raise SettingError(
                f"student's dimension is {student.settings.dimension}, expected the teacher's: {outputs.facts.dimension}; "
                "it lives in the teacher's space"
            )
        self.model = student
        self.settings = settings
        self._outputs = outputs

    def encode(self, batch: Batch) -> Encoded:
        """Embed what the teacher saw."""
        picture = self.model.picture(batch.views_VBFHWC[0], batch.picture_mask_BF)
        text = self.model.text(batch.text_BL, batch.text_mask_BL)
        sound = self.model.sound(batch.mel_BWM, batch.audio_mask_B)
        found = self.model.fuse(picture, text, sound)
        target_BD = self.model.encode_text(batch.target_BL, batch.target_mask_BL)
        return {"fused": found.embedding_BD, "picture": found.picture_BD, "text": target_BD}

    def losses(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the loss and its parts, which are without their weights."""
        settings, rows = self.settings, Rows(self.gather, self.rank)
        teacher = self._outputs.rows(batch.ids_B, view_of(settings, batch.step).number)
        student = {name: encoded[name].float() for name in _FEATURE_WEIGHTS}
        parts = {"loss_feature": self._feature(student, teacher, rows)}
        loss = settings.feature * parts["loss_feature"]
        if settings.similarity:
            parts["loss_similarity"] = self._similarity(student["fused"], teacher.fused_BD, rows)
            loss = loss + settings.similarity * parts["loss_similarity"]
        if settings.labels and self._outputs.labels is not None:
            parts["loss_labels"] = label_divergence(self._outputs.labels, student["fused"], teacher.fused_BD, rows)
            loss = loss + settings.labels * parts["loss_labels"]
        return loss, parts

    def shared_weights(self) -> list[Tensor]:
        """Give the scales at the top of the towers."""
        return [tower.tower.norm.weight for tower in (self.model.picture, self.model.text, self.model.sound)]

    def _feature(self, student: Encoded, teacher: TeacherRows, rows: Rows) -> Tensor:
        """1 - cosine; where the teacher says nothing (a row of zeros: no such modality, no finite answer) nothing counts."""
        theirs = {"fused": teacher.fused_BD, "picture": teacher.picture_BD, "text": teacher.text_BD}
        terms = [
            weight * rows.mean(1 - (student[name] * theirs[name]).sum(dim=1), _is_said_B(theirs[name]))
            for name, weight in _FEATURE_WEIGHTS.items()
        ]
        return torch.stack(terms).sum()

    def _similarity(self, student_BD: Tensor, teacher_BD: Tensor, rows: Rows) -> Tensor:
        """KL from the teacher's distribution over the batch to the student's, both against the teacher's vectors."""
        bank_GD = rows.gather(teacher_BD)
        is_silent_G = ~_is_said_B(bank_GD)
        temperature = self.settings.similarity_temperature

        def log_shares_BG(vectors_BD: Tensor) -> Tensor:
            return functional.log_softmax((vectors_BD @ bank_GD.T / temperature).masked_fill(is_silent_G, _HIDDEN), dim=1)

        theirs, ours = log_shares_BG(teacher_BD), log_shares_BG(student_BD)
        divergence_B = functional.kl_div(ours, theirs, reduction="none", log_target=True).sum(dim=1)
        return rows.mean(divergence_B, _is_said_B(teacher_BD))


def label_divergence(labels: TeacherLabels, student_BD: Tensor, teacher_BD: Tensor, rows: Rows) -> Tensor:
    """KL from each label's probability by the teacher's vector to that by the student's, both through the teacher's head.

    Summed over labels, mean over the works of all processes of which the teacher says something. The head is frozen: it is the teacher's
    space that has its labels, and what moves is the student.

    Source: the distillation of logits (Hinton, Vinyals and Dean, 2015) with a sigmoid for each label, since a work has many.
    """
    ours_BK, theirs_BK = labels.logits_BK(student_BD), labels.logits_BK(teacher_BD)
    probability_BK = theirs_BK.sigmoid()
    cross_BK, own_BK = (
        functional.binary_cross_entropy_with_logits(logits_BK, probability_BK, reduction="none") for logits_BK in (ours_BK, theirs_BK)
    )
    return rows.mean((cross_BK - own_BK).sum(dim=1), _is_said_B(teacher_BD))


def _is_said_B(teacher_BD: Tensor) -> Tensor:
    return teacher_BD.abs().sum(dim=1) > 0
