"""Named randomness: a function of names, and random enough."""

import hashlib

import numpy as np
import pytest

from reelspace.core.rng import rng, uniform_BN


def test_a_name_is_a_stream() -> None:
    draws = rng(1, "music", 5).random(8)
    assert np.array_equal(draws, rng(1, "music", 5).random(8))
    others = [rng(2, "music", 5), rng(1, "music", 6), rng(1, "music", "5"), rng(1, "music"), rng(1, "mus", "ic", 5), rng(1, "music", 5, 0)]
    for other in others:
        assert not np.array_equal(draws, other.random(8))


def test_a_stream_never_changes_between_versions() -> None:
    assert rng(7, "caption", 123).integers(0, 1 << 30, 3).tolist() == [844335618, 1072837818, 940770849]
    assert uniform_BN(7, 3, np.array([0, 123]), "mask", 2).ravel().tolist() == [
        0.3946262460465183,
        0.3290158405589618,
        0.5637227373055308,
        0.8289224522040465,
    ]


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    ids_B = np.array([5, 1, 99, -3, 2**62])
    whole = uniform_BN(3, 11, ids_B, "view", 7)
    for row, sample_id in enumerate(ids_B):
        assert np.array_equal(whole[row : row + 1], uniform_BN(3, 11, np.array([sample_id]), "view", 7))
    assert np.array_equal(whole[:, :3], uniform_BN(3, 11, ids_B, "view", 3))


@pytest.mark.parametrize(
    "other",
    [
        lambda ids: uniform_BN(2, 0, ids, "a", 4),
        lambda ids: uniform_BN(1, 1, ids, "a", 4),
        lambda ids: uniform_BN(1, 0, ids + 1, "a", 4),
        lambda ids: uniform_BN(1, 0, ids, "b", 4),
    ],
)
def test_every_part_of_the_name_counts(other: object) -> None:
    ids = np.arange(1000)
    base = uniform_BN(1, 0, ids, "a", 4)
    changed = other(ids)  # type: ignore[operator]
    assert abs(np.corrcoef(base.ravel(), changed.ravel())[0, 1]) < 0.06
    assert not np.isin(base.ravel(), changed.ravel()).all()


def test_draws_are_uniform_and_uncorrelated() -> None:
    uniform = uniform_BN(1, 2, np.arange(50_000), "x", 4)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    counts = np.histogram(uniform, bins=64, range=(0, 1))[0]
    expected = uniform.size / 64
    assert ((counts - expected) ** 2 / expected).sum() < 110  # chi-square, 63 degrees of freedom: 1 in 10,000 lies above 110
    correlation = np.corrcoef(uniform.T) - np.eye(4)
    assert np.abs(correlation).max() < 0.02
    assert abs(np.corrcoef(uniform[:-1, 0], uniform[1:, 0])[0, 1]) < 0.02


def test_steps_and_ids_do_not_cancel() -> None:
    by_step = np.concatenate([uniform_BN(1, step, np.arange(100), "x", 4) for step in range(100)])
    assert len(np.unique(by_step)) == by_step.size


def test_no_samples_and_no_columns_are_empty() -> None:
    assert uniform_BN(1, 2, np.array([], dtype=np.int64), "x", 3).shape == (0, 3)
    assert uniform_BN(1, 2, np.array([4]), "x", 0).shape == (1, 0)


def test_uniforms_equal_the_formula_in_plain_integers() -> None:
    mask = 2**64 - 1

    def mix(x: int) -> int:
        x = (x + 0x9E3779B97F4A7C15) & mask
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    digest = hashlib.sha256(b'[9, "drop"]').digest()
    key_1, key_2 = (int.from_bytes(digest[start : start + 8], "little") for start in (0, 8))
    for sample_id in (0, 17, -5):
        row = mix((mix((sample_id & mask) ^ key_1) + mix(4 ^ key_2)) & mask)
        expected = [(mix((row + column * 0x9E3779B97F4A7C15) & mask) >> 11) * 2.0**-53 for column in (1, 2, 3)]
        assert uniform_BN(9, 4, np.array([sample_id]), "drop", 3)[0].tolist() == expected
