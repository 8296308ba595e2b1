"""The order in which samples are read: a pure function, the same for any number of processes.

Shapes: N rows of the shard index (or of a part of it), B samples of a batch.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from reelspace.core.rng import rng


def order(seed: int, epoch: int, shard_of_row_N: NDArray[np.int64], window: int = 4) -> NDArray[np.int64]:
    """Give the rows of one epoch in reading order.

    Shards are shuffled; rows are shuffled inside each run of `window` shards, so that reading touches few shards at a time.

    Args:
        shard_of_row_N: the shard each row lies in; any numbers, in any order.
        window: shards that are mixed, at least 1.

    Returns:
        A permutation of 0 to N - 1.
    """
    generator = rng(seed, "order", epoch)
    shards, shard_N = np.unique(shard_of_row_N, return_inverse=True)
    place_of_shard = generator.permutation(len(shards))
    window_N = place_of_shard[shard_N] // window
    rows_N: NDArray[np.int64] = np.lexsort((generator.random(len(shard_of_row_N)), window_N)).astype(np.int64)
    return rows_N


class Sampler:
    """Global batches for a seed: the stream of all epochs, one behind the other, cut into batches.

    The data cursor is one integer, the number of samples taken since the start; world size, restarts and batch size may change at any
    cursor without a sample being skipped or doubled within an epoch.
    """

    def __init__(self, seed: int, shard_of_row_N: NDArray[np.int64], window: int = 4) -> None:
        if not len(shard_of_row_N):
            raise ValueError("a sampler needs at least one row")
        self._num_rows = len(shard_of_row_N)
        self._epoch_order = lru_cache(maxsize=2)(lambda epoch: order(seed, epoch, shard_of_row_N, window))

    def rows(self, cursor: int, num: int) -> NDArray[np.int64]:
        """Give rows_B: the `num` rows that follow `cursor`, across the ends of epochs."""
        parts = []
        while num > 0:
            epoch, start = divmod(cursor, self._num_rows)
            parts.append(self._epoch_order(epoch)[start : start + num])
            cursor, num = cursor + len(parts[-1]), num - len(parts[-1])
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def share(rows_B: NDArray[np.int64], rank: int, world_size: int) -> NDArray[np.int64]:
    """Give one rank's part of a global batch: in order of rank the parts make up the batch. B is a multiple of world_size."""
    assert len(rows_B) % world_size == 0
    per_rank = len(rows_B) // world_size
    return rows_B[rank * per_rank : (rank + 1) * per_rank]
