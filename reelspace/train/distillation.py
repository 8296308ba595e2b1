"""Distillation: the student learns the teacher's vectors of the same view, so that it can query the teacher's index.

Legend: B works of this process, G works of all processes, D embedding dimension.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from reelspace.core.errors import SettingError
from reelspace.model.checkpoint import frozen
from reelspace.model.losses import Gather, Rows, alone
from reelspace.model.model import ReelModel, VideoOutput
from reelspace.model.settings import ModelSettings
from reelspace.train.batches import Batch
from reelspace.train.settings import DistillSettings


class DistillObjective(nn.Module):
    """The student, and the frozen teacher as a live source of targets (it is no part of the trained state)."""

    def __init__(self, student: ReelModel, teacher: ReelModel, settings: DistillSettings) -> None:
        super().__init__()
        _check_same_inputs(student.settings, teacher.settings)
        self.model = student
        self.settings = settings
        # Hidden from nn.Module: the engine must neither shard nor save the teacher.
        self._teacher = (frozen(teacher),)
        self.gather: Gather = alone
        self.rank = 0

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the loss and its parts; the student sees what the teacher sees."""
        with torch.no_grad():
            teacher: VideoOutput = _encode(self._teacher[0], batch)
            teacher_text_BD = self._teacher[0].encode_text(batch.target_BL, batch.target_mask_BL)
        student = _encode(self.model, batch)
        student_text_BD = self.model.encode_text(batch.target_BL, batch.target_mask_BL)
        pairs = (
            (student.embedding_BD, teacher.embedding_BD, 1.0),
            (student.picture_BD, teacher.picture_BD, 0.5),
            (student_text_BD, teacher_text_BD, 0.5),
        )
        feature = torch.stack([weight * self._feature(ours, theirs) for ours, theirs, weight in pairs]).sum()
        similarity = self._similarity(student.embedding_BD, teacher.embedding_BD)
        parts = {"loss_feature": feature, "loss_similarity": similarity}
        return self.settings.feature * feature + self.settings.similarity * similarity, parts

    def _feature(self, student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
        """1 - cosine, averaged over all processes; a missing modality (zero vector of the teacher) counts nothing."""
        present_B = teacher_BD.abs().sum(dim=1) > 0
        return Rows(self.gather, self.rank).mean(1 - (student_BD * teacher_BD).sum(dim=1), present_B)

    def _similarity(self, student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
        """KL from the teacher's distribution over the batch to the student's, both against the teacher's vectors."""
        bank_GD = self.gather(teacher_BD)
        temperature = self.settings.similarity_temperature
        target = functional.softmax(teacher_BD @ bank_GD.T / temperature, dim=1)
        ours = functional.log_softmax(student_BD @ bank_GD.T / temperature, dim=1)
        return functional.kl_div(ours, target, reduction="batchmean")


def _check_same_inputs(student: ModelSettings, teacher: ModelSettings) -> None:
    for name in ("dimension", "frame_size", "vocabulary_size", "text_length", "sound"):
        ours, theirs = getattr(student, name), getattr(teacher, name)
        if ours != theirs:
            raise SettingError(f"student's {name} is {ours}, expected the teacher's: {theirs}")


def _encode(model: ReelModel, batch: Batch) -> VideoOutput:
    picture = model.picture(batch.views_VBFHWC[0], batch.picture_mask_BF)
    return model.fuse(picture, model.text(batch.text_BL, batch.text_mask_BL), model.sound(batch.mel_BWM, batch.audio_mask_B))
