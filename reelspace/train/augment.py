"""Training views: swapped surroundings, crop, rotation, flip and colour, every number a function of (seed, step, sample id, purpose).

Legend: B works, F frames, H W pixels, C channels, L text tokens.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from reelspace.core.rng import uniform_BN
from reelspace.model.tokenizer import NUM_SPECIAL, UNKNOWN
from reelspace.train.settings import AugmentSettings

NUM_DRAWS = 11
_NUM_SWAP_DRAWS = 6
_EDGE = 0.15


def augment_frames(frames_BFHWC: Tensor, ids_B: NDArray[np.int64], seed: int, step: int, purpose: str, settings: AugmentSettings) -> Tensor:
    """Give float frames in 0 to 255; all frames of one work share one crop and one colour."""
    draws = torch.from_numpy(uniform_BN(seed, step, ids_B, f"augment {purpose}", NUM_DRAWS)).float()
    batch, num_frames, height, width = frames_BFHWC.shape[:4]
    places_BHW2 = grid_BHW2(_affine_B23(draws, settings), height, width)
    grid = places_BHW2[:, None].expand(-1, num_frames, -1, -1, -1).flatten(0, 1)
    pixels = frames_BFHWC.permute(0, 1, 4, 2, 3).flatten(0, 1).float()
    cropped = functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    contrast = 1 + settings.contrast * (2 * draws[:, 6] - 1)
    shift = settings.brightness * (2 * draws[:, 7:8] - 1) + settings.channel_shift * (2 * draws[:, 8:11] - 1)
    frames = cropped.reshape(batch, num_frames, 3, height, width)
    # In place: the numbers are this function's own, and every copy of them costs as much as a step of the arithmetic.
    frames.sub_(127.5).mul_(contrast[:, None, None, None, None]).add_(127.5).add_(255 * shift[:, None, :, None, None]).clamp_(0, 255)
    return frames.permute(0, 1, 3, 4, 2)


def swap_backgrounds(
    frames_BFHWC: Tensor, partners_B1HWC: Tensor, ids_B: NDArray[np.int64], seed: int, step: int, purpose: str, settings: AugmentSettings
) -> Tensor:
    """Show the surroundings of another work around the middle of some frames, so that a background tells nothing of the subject.

    A work's frames keep an ellipse of random place and size and fade into its partner's frame outside of it. What is in the middle is
    taken for the subject: no segmentation is needed, and none is had.

    Returns:
        float frames BFHWC; those of works that are not chosen are unchanged.

    Source: background augmentation of self-supervised views (Ryali, Schwab and Morcos, 2021), with an ellipse for their saliency masks.
    """
    draws = torch.from_numpy(uniform_BN(seed, step, ids_B, f"swap {purpose}", _NUM_SWAP_DRAWS)).float()
    height, width = frames_BFHWC.shape[2:4]
    y = torch.linspace(-1, 1, height)[None, :, None] - 0.3 * (2 * draws[:, 1, None, None] - 1)
    x = torch.linspace(-1, 1, width)[None, None, :] - 0.3 * (2 * draws[:, 2, None, None] - 1)
    radius_y, radius_x = (settings.swap_radius * (0.8 + 0.4 * draws[:, column, None, None]) for column in (3, 4))
    distance_BHW = torch.sqrt((y / radius_y) ** 2 + (x / radius_x) ** 2)
    outside_BHW = ((distance_BHW - 1) / _EDGE).clamp(0, 1) * (draws[:, 0, None, None] < settings.swap_background)
    share = outside_BHW[:, None, :, :, None]
    return frames_BFHWC.float() * (1 - share) + partners_B1HWC.float() * share


def _affine_B23(draws: Tensor, settings: AugmentSettings) -> Tensor:
    scale = settings.min_crop + (1 - settings.min_crop) * draws[:, 0]
    angle = math.radians(settings.max_rotation_degrees) * (2 * draws[:, 1] - 1)
    flip = torch.where(draws[:, 2] < 0.5, 1.0, -1.0)
    room = 1 - scale
    x, y = room * (2 * draws[:, 3] - 1), room * (2 * draws[:, 4] - 1)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    return torch.stack([torch.stack([cos * flip, -sin, x], 1), torch.stack([sin * flip, cos, y], 1)], 1)


def grid_BHW2(affine_B23: Tensor, height: int, width: int) -> Tensor:
    """Give where each pixel is taken from: `functional.affine_grid` without corners, in the same arithmetic, at a third of its time."""
    x_W = torch.linspace(-1, 1, width) * ((width - 1) / width)
    y_H = torch.linspace(-1, 1, height) * ((height - 1) / height)
    grid_B2HW = affine_B23[:, :, 0, None, None] * x_W + affine_B23[:, :, 1, None, None] * y_H[:, None]
    return grid_B2HW.add_(affine_B23[:, :, 2, None, None]).permute(0, 2, 3, 1)


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
    random_ids = (NUM_SPECIAL + which * (vocabulary_size - NUM_SPECIAL)).astype(np.int32)
    present = ids_BL != 0
    replaced = np.where(present & (what < settings.replace_tokens), random_ids, ids_BL)
    unknown = present & (what >= settings.replace_tokens) & (what < settings.replace_tokens + settings.unknown_tokens)
    return np.where(unknown, np.int32(UNKNOWN), replaced).astype(np.int32)
