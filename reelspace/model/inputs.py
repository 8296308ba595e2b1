"""Decoded works as tensors: the one place where frames, sound and text of a work become what the model reads.

Legend: B works, F frames, H W pixels, C channels, S sound samples, L text tokens.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reelspace.model.settings import ModelSettings
from reelspace.model.tokenizer import Tokenizer


class Work(Protocol):
    """A decoded work."""

    @property
    def frames_FHWC(self) -> NDArray[np.uint8]: ...
    @property
    def audio_S(self) -> NDArray[np.int16] | None: ...
    @property
    def text(self) -> str: ...


def frame_rows(num_present: int, num_wanted: int) -> NDArray[np.int64]:
    """Choose frames uniformly in time; all of them when there are fewer."""
    if num_present <= num_wanted:
        return np.arange(num_present)
    return np.linspace(0, num_present - 1, num_wanted).round().astype(np.int64)


def frames_of(work: Work, settings: ModelSettings) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Give [F, H, W, C] and its mask."""
    frames = np.zeros((settings.num_frames, settings.frame_size, settings.frame_size, 3), dtype=np.uint8)
    rows = frame_rows(len(work.frames_FHWC), settings.num_frames)
    frames[: len(rows)] = work.frames_FHWC[rows]
    return frames, np.arange(settings.num_frames) < len(rows)


def audio_of(work: Work, settings: ModelSettings) -> tuple[NDArray[np.int16], bool]:
    """Give [S] cut or zero-padded, and whether there is sound at all."""
    audio = np.zeros(settings.sound.num_samples, dtype=np.int16)
    if work.audio_S is None or not work.audio_S.any():
        return audio, False
    part = work.audio_S[: settings.sound.num_samples]
    audio[: len(part)] = part
    return audio, True


def video_inputs(
    works: Sequence[Work], settings: ModelSettings, tokenizer: Tokenizer
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Give the arguments of `ReelModel.encode_video` in their order."""
    frames = [frames_of(work, settings) for work in works]
    audio = [audio_of(work, settings) for work in works]
    text_BL, text_mask_BL = tokenizer.encode_BL([work.text for work in works])
    return (
        torch.from_numpy(np.stack([part for part, _ in frames])),
        torch.from_numpy(np.stack([mask for _, mask in frames])),
        torch.from_numpy(np.stack([part for part, _ in audio])),
        torch.tensor([present for _, present in audio]),
        torch.from_numpy(text_BL),
        torch.from_numpy(text_mask_BL),
    )
