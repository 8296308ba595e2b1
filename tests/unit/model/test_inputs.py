"""Decoded works as tensors."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from reelspace.model.inputs import frame_rows, video_inputs
from reelspace.model.settings import ModelSettings, SoundSettings
from reelspace.model.tokenizer import Tokenizer

SETTINGS = ModelSettings(num_frames=4, frame_size=16, stem_channels=(8,), text_length=4, sound=SoundSettings(num_samples=8_000))


@dataclass(frozen=True, slots=True)
class Clip:
    frames_FHWC: NDArray[np.uint8]
    audio_S: NDArray[np.int16] | None
    text: str


def frames(num: int) -> NDArray[np.uint8]:
    return (
        np.stack([np.full((16, 16, 3), index + 1, dtype=np.uint8) for index in range(num)]) if num else np.empty((0, 16, 16, 3), np.uint8)
    )


@pytest.mark.parametrize(("present", "wanted", "rows"), [(4, 4, [0, 1, 2, 3]), (8, 2, [0, 7]), (1, 4, [0]), (0, 4, [])])
def test_frames_are_chosen_uniformly_in_time(present: int, wanted: int, rows: list[int]) -> None:
    assert frame_rows(present, wanted).tolist() == rows


def test_what_a_work_does_not_have_is_zero_and_masked() -> None:
    tokenizer = Tokenizer.train(["camera"] * 3, 100, 4)
    works = [
        Clip(frames(6), np.full(9_000, 5, np.int16), "camera"),
        Clip(frames(1), np.full(100, 7, np.int16), ""),
        Clip(frames(0), None, "camera"),
    ]
    frames_BFHWC, frames_mask, audio_BS, audio_mask, text_BL, text_mask = video_inputs(works, SETTINGS, tokenizer)
    assert frames_mask.sum(dim=1).tolist() == [4, 1, 0]
    assert not frames_BFHWC[~frames_mask].any()
    assert audio_mask.tolist() == [True, True, False]
    assert audio_BS[1].sum() == 700
    assert audio_BS.shape[1] == 8_000
    assert text_mask.any(dim=1).tolist() == [True, False, True]
    assert (text_BL[1] == 0).all()
