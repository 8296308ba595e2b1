"""Views of pictures and spoiled texts. Legend: B works, F frames, H W pixels, C channels, L tokens."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from reelspace.train.augment import augment_frames, corrupt_tokens, grid_BHW2
from reelspace.train.settings import AugmentSettings

NOTHING = AugmentSettings(min_crop=1, max_rotation_degrees=0, brightness=0, contrast=0, channel_shift=0)
IDS_B = np.arange(40, 46)


def make_frames() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 2, 16, 16, 3), dtype=np.uint8))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 64), (17, 224)])
def test_pixels_are_taken_from_where_the_affine_grid_of_torch_says(height: int, width: int) -> None:
    affine_B23 = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = functional.affine_grid(affine_B23, [5, 3, height, width], align_corners=False)
    torch.testing.assert_close(grid_BHW2(affine_B23, height, width), expected, rtol=1e-6, atol=1e-6)


def test_without_changes_a_view_is_the_frame_or_its_mirror_image() -> None:
    frames = make_frames()
    views = augment_frames(frames, IDS_B, 0, 0, "a", NOTHING)
    for frame, view in zip(frames.float(), views, strict=True):
        assert torch.allclose(view, frame, atol=0.05) or torch.allclose(view, frame.flip(2), atol=0.05)


def test_a_view_depends_on_the_work_and_not_on_its_place_in_the_batch() -> None:
    frames, settings = make_frames(), AugmentSettings()
    order = [3, 1, 5]
    together = augment_frames(frames, IDS_B, 7, 2, "a", settings)
    torch.testing.assert_close(augment_frames(frames[order], IDS_B[order], 7, 2, "a", settings), together[order])


def test_steps_and_purposes_give_other_views() -> None:
    frames, settings = make_frames(), AugmentSettings()
    views = [augment_frames(frames, IDS_B, 7, step, purpose, settings) for step, purpose in ((2, "a"), (3, "a"), (2, "b"))]
    assert not torch.allclose(views[0], views[1])
    assert not torch.allclose(views[0], views[2])


def test_views_stay_in_the_range_of_a_picture() -> None:
    views = augment_frames(make_frames(), IDS_B, 0, 0, "a", AugmentSettings(brightness=1, contrast=0.9, channel_shift=1))
    assert views.min() >= 0
    assert views.max() <= 255


def test_tokens_are_spoiled_at_the_given_rates_and_padding_never() -> None:
    ids_BL = np.full((2_000, 8), 50, dtype=np.int32)
    ids_BL[:, 6:] = 0
    spoiled_BL = corrupt_tokens(ids_BL, np.arange(2_000), 0, 0, "own", 1_000, AugmentSettings(replace_tokens=0.2, unknown_tokens=0.1))
    present = spoiled_BL[:, :6]
    assert abs((present == 1).mean() - 0.1) < 0.01
    assert abs(((present != 50) & (present != 1)).mean() - 0.2) < 0.012
    assert present.min() >= 1
    assert present.max() < 1_000
    assert not spoiled_BL[:, 6:].any()
