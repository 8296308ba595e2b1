"""Named sizes, counted on the meta device."""

import time
from itertools import pairwise

import pytest
import torch

from reelspace.core.errors import SettingError
from reelspace.model.model import ReelModel, num_parameters
from reelspace.model.presets import preset

LIMIT_S = 5.0
MILLIONS = {"base": 224, "1b": 1_049, "3b": 3_098, "10b": 10_076}
GROWING = ("tiny", "small", "base", "1b", "3b", "10b")


def on_meta(name: str) -> ReelModel:
    with torch.device("meta"):
        return ReelModel(preset(name))


@pytest.mark.parametrize("name", MILLIONS)
def test_a_size_counts_within_a_tenth_of_what_it_is_called(name: str) -> None:
    start = time.perf_counter()
    count = num_parameters(on_meta(name))
    took_s = time.perf_counter() - start
    print(f"{name}: {count:,} parameters, counted in {took_s:.2f} s")
    assert count == pytest.approx(MILLIONS[name] * 1e6, rel=0.10)
    assert took_s < LIMIT_S


@pytest.mark.parametrize("name", ["base", "10b"])
def test_no_parameter_of_a_large_size_takes_memory_on_meta(name: str) -> None:
    assert all(parameter.is_meta for parameter in on_meta(name).parameters())


@pytest.mark.parametrize("name", ["small", "base"])
def test_a_block_count_equals_the_formula(name: str) -> None:
    """A block has 4 d^2 + 4 d of attention, 2 r d^2 + (r + 1) d of MLP and 4 d of norms."""
    sizes, model = preset(name), on_meta(name)
    width, ratio = sizes.width, int(sizes.mlp_ratio)
    block = 4 * width**2 + 4 * width + 2 * ratio * width**2 + (ratio + 1) * width + 4 * width
    for tower, num_layers in ((model.picture, sizes.picture_layers), (model.text, sizes.text_layers), (model.sound, sizes.sound_layers)):
        assert num_parameters(tower.tower.blocks) == num_layers * block


def test_larger_sizes_have_more_parameters_and_no_smaller_embedding() -> None:
    counts = [num_parameters(on_meta(name)) for name in GROWING]
    dimensions = [preset(name).dimension for name in GROWING]
    assert all(less < more for less, more in pairwise(counts))
    assert all(less < more for less, more in pairwise(dimensions))


def test_an_unknown_size_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingError, match="10b"):
        preset("20b")
