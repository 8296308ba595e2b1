"""Inputs on which an exported graph is held against torch: noise, drawn scenes with sound and words, and every missing part.

Shapes: B rows, F frames, H x W pixels, S sound samples.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from reelspace.core.rng import rng
from reelspace.serving.preprocess import VideoQuery, text_tensors, video_tensors
from reelspace.serving.signatures import EncoderSizes, Signature
from reelspace.serving.wire import Tensor

WORDS = ("ramen", "noodle soup", "拉麵", "camera unboxing", "日落 海边", "cat", "新手 开箱", "a", "slow motion skate trick at night")
BATCHES = (1, 3, 8)


def text_rows() -> dict[str, Tensor]:
    """Give search texts of one to forty words in several scripts."""
    long = " ".join(WORDS * 4)
    return text_tensors([*WORDS, long])


def video_rows(sizes: EncoderSizes, signature: Signature) -> dict[str, Tensor]:
    """Give works with every combination of parts there and missing, once as noise and once as a drawn scene."""
    subsets = [subset for subset in product((True, False), repeat=3) if any(subset)]
    videos = [
        VideoQuery(
            _frames(sizes, row, drawn) if has_frames else np.zeros((0, sizes.height, sizes.width, 3), np.uint8),
            _sound(sizes, row, drawn) if has_sound else None,
            WORDS[row % len(WORDS)] if has_text else "",
        )
        for row, (drawn, (has_frames, has_sound, has_text)) in enumerate(product((False, True), subsets))
    ]
    return video_tensors(videos, signature)


def batches(rows: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Cut rows into batches of several sizes, the same rows in each size."""
    num_rows = len(rows["TEXT"])
    for size in BATCHES:
        for start in range(0, num_rows, size):
            yield {name: tensor[start : start + size] for name, tensor in rows.items()}


def _frames(sizes: EncoderSizes, row: int, drawn: bool) -> NDArray[np.uint8]:
    shape = (sizes.num_frames, sizes.height, sizes.width, 3)
    if not drawn:
        return rng(0, "parity", "frames", row).integers(0, 256, shape, dtype=np.uint8)
    # A disc that moves over a gradient; odd rows stop short, as a single picture does.
    y, x = np.mgrid[0 : sizes.height, 0 : sizes.width]
    num_frames = 1 if row % 2 else sizes.num_frames
    frames = np.zeros((num_frames, *shape[1:]), dtype=np.uint8)
    for frame in range(num_frames):
        frames[frame, ..., 0] = 255 * x // sizes.width
        frames[frame, ..., 1] = 255 * y // sizes.height
        centre = sizes.width * (frame + 1) // (num_frames + 1)
        frames[frame, ..., 2] = np.where((x - centre) ** 2 + (y - sizes.height // 2) ** 2 < (sizes.height // 5) ** 2, 220, 30)
    return frames


def _sound(sizes: EncoderSizes, row: int, drawn: bool) -> NDArray[np.int16]:
    if not drawn:
        return rng(0, "parity", "sound", row).integers(-32768, 32768, sizes.num_samples, dtype=np.int16)
    seconds = np.arange(sizes.num_samples // (1 + row % 2)) / 16_000
    tone: NDArray[np.int16] = (8_000 * np.sin(2 * np.pi * (220 + 55 * row) * seconds)).astype(np.int16)
    return tone
