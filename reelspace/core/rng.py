"""Randomness as a function of names: no generator is shared, so ranks, order and resumption cannot change a draw.

Shapes: B samples, N draws per sample.
"""

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def rng(seed: int, *name: str | int) -> np.random.Generator:
    """Make the generator of one named stream: same seed and name, same draws; any other name is independent."""
    return np.random.Generator(np.random.Philox(key=np.frombuffer(_digest(seed, *name)[:16], dtype="<u8")))


def uniform_BN(seed: int, step: int, sample_ids_B: NDArray[np.int64], purpose: str, num: int) -> NDArray[np.float64]:
    """Draw num uniforms in [0, 1) per sample, each a pure function of (seed, step, sample id, purpose, column).

    Args:
        sample_ids_B: any int64; a sample's row does not depend on the samples beside it.

    Source: the finaliser of SplitMix64 (Steele, Lea and Flood 2014), chained over the counters.
    """
    key_1, key_2 = np.frombuffer(_digest(seed, purpose)[:16], dtype="<u8")
    step_hash = _mix(np.array([step], dtype=np.int64).view(np.uint64) ^ key_2)
    rows_B = _mix(_mix(np.asarray(sample_ids_B, dtype=np.int64).view(np.uint64) ^ key_1) + step_hash)
    columns_N = np.arange(1, num + 1, dtype=np.uint64) * _GOLDEN
    bits_BN = _mix(rows_B[:, None] + columns_N[None, :])
    uniform: NDArray[np.float64] = (bits_BN >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniform


def _digest(*parts: str | int) -> bytes:
    return hashlib.sha256(json.dumps(parts).encode()).digest()


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))
