"""Training views: crop, rotation, flip and colour, every number a function of (seed, step, sample id, purpose).

Legend: B works, F frames, H W pixels, C channels, L text tokens.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from reelspace.core.rng import uniform_BN
from reelspace.train.settings import AugmentSettings

NUM_DRAWS = 11


def augment_frames(frames_BFHWC: Tensor, ids_B: NDArray[np.int64], seed: int, step: int, purpose: str, settings: AugmentSettings) -> Tensor:
    """Give float frames in 0 to 255; all frames of one work share one crop and one colour."""
    draws = torch.from_numpy(uniform_BN(seed, step, ids_B, f"augment {purpose}", NUM_DRAWS)).float()
    batch, num_frames = frames_BFHWC.shape[:2]
    grid = functional.affine_grid(_affine_B23(draws, settings), [batch, 3, *frames_BFHWC.shape[2:4]], align_corners=False)
    pixels = frames_BFHWC.float().permute(0, 1, 4, 2, 3).flatten(0, 1)
    cropped = functional.grid_sample(pixels, grid.repeat_interleave(num_frames, 0), padding_mode="reflection", align_corners=False)
    contrast = 1 + settings.contrast * (2 * draws[:, 6] - 1)
    shift = settings.brightness * (2 * draws[:, 7:8] - 1) + settings.channel_shift * (2 * draws[:, 8:11] - 1)
    frames = cropped.reshape(batch, num_frames, 3, *frames_BFHWC.shape[2:4])
    coloured = (frames - 127.5) * contrast[:, None, None, None, None] + 127.5 + 255 * shift[:, None, :, None, None]
    return coloured.clamp(0, 255).permute(0, 1, 3, 4, 2)


def _affine_B23(draws: Tensor, settings: AugmentSettings) -> Tensor:
    scale = settings.min_crop + (1 - settings.min_crop) * draws[:, 0]
    angle = math.radians(settings.max_rotation_degrees) * (2 * draws[:, 1] - 1)
    flip = torch.where(draws[:, 2] < 0.5, 1.0, -1.0)
    room = 1 - scale
    x, y = room * (2 * draws[:, 3] - 1), room * (2 * draws[:, 4] - 1)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    return torch.stack([torch.stack([cos * flip, -sin, x], 1), torch.stack([sin * flip, cos, y], 1)], 1)


def corrupt_tokens(
    ids_BL: NDArray[np.int32],
    works_B: NDArray[np.int64],
    seed: int,
    step: int,
    purpose: str,
    vocabulary_size: int,
    settings: AugmentSettings,
) -> NDArray[np.int32]:
    """Replace tokens by random ones or the unknown one, so that single words cannot be memorised."""
    length = ids_BL.shape[1]
    draws = uniform_BN(seed, step, works_B, f"tokens {purpose}", 2 * length)
    what, which = draws[:, :length], draws[:, length:]
    random_ids = (2 + which * (vocabulary_size - 2)).astype(np.int32)
    present = ids_BL != 0
    replaced = np.where(present & (what < settings.replace_tokens), random_ids, ids_BL)
    unknown = present & (what >= settings.replace_tokens) & (what < settings.replace_tokens + settings.unknown_tokens)
    return np.where(unknown, np.int32(1), replaced).astype(np.int32)
