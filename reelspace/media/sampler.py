"""The order in which samples are read: a pure function, the same for any number of processes.

Shapes: N rows of the shard index (or of a part of it), B samples of a batch, S shards, W windows.
"""

from dataclasses import dataclass
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
    rows_N: NDArray[np.int64] = Sampler(seed, shard_of_row_N, window).rows(epoch * len(shard_of_row_N), len(shard_of_row_N))
    return rows_N


class Sampler:
    """Global batches for a seed: the stream of all epochs, one behind the other, cut into batches.

    The data cursor is one integer, the number of samples taken since the start; world size, restarts and batch size may change at any
    cursor without a sample being skipped or doubled within an epoch.

    Cost: beside the list of which rows lie in which shard it holds the rows of two windows; asking costs what the windows it touches cost.
    """

    def __init__(self, seed: int, shard_of_row_N: NDArray[np.int64], window: int = 4) -> None:
        if not len(shard_of_row_N):
            raise ValueError("a sampler needs at least one row")
        self._seed, self._window = seed, window
        self._num_rows = len(shard_of_row_N)
        self._rows_N = np.argsort(shard_of_row_N, kind="stable").astype(np.int64)
        _, counts_S = np.unique(shard_of_row_N, return_counts=True)
        self._ends_S = np.cumsum(counts_S)
        self._starts_S = self._ends_S - counts_S
        self._epoch = lru_cache(maxsize=2)(self._plan)
        self._rows_of_window = lru_cache(maxsize=2)(self._shuffled)

    def rows(self, cursor: int, num: int) -> NDArray[np.int64]:
        """Give rows_B: the `num` rows that follow `cursor`, across the ends of epochs."""
        parts = []
        while num > 0:
            epoch, start = divmod(cursor, self._num_rows)
            plan = self._epoch(epoch)
            window = int(np.searchsorted(plan.ends_W, start, side="right"))
            rows = self._rows_of_window(epoch, window)
            first = start - (int(plan.ends_W[window]) - len(rows))
            parts.append(rows[first : first + num])
            cursor, num = cursor + len(parts[-1]), num - len(parts[-1])
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def _plan(self, epoch: int) -> "_Epoch":
        shards_S = rng(self._seed, "shards", epoch).permutation(len(self._starts_S))
        sizes_S = (self._ends_S - self._starts_S)[shards_S]
        return _Epoch(shards_S, np.cumsum(np.add.reduceat(sizes_S, np.arange(0, len(sizes_S), self._window))))

    def _shuffled(self, epoch: int, window: int) -> NDArray[np.int64]:
        shards = self._epoch(epoch).shards_S[window * self._window : (window + 1) * self._window]
        rows = np.concatenate([self._rows_N[self._starts_S[shard] : self._ends_S[shard]] for shard in shards])
        shuffled: NDArray[np.int64] = rng(self._seed, "window", epoch, window).permutation(rows)
        return shuffled


@dataclass(frozen=True, slots=True)
class _Epoch:
    """The shards of an epoch in order, and how many rows are over at the end of each window of them."""

    shards_S: NDArray[np.int64]
    ends_W: NDArray[np.int64]


def share(rows_B: NDArray[np.int64], rank: int, world_size: int) -> NDArray[np.int64]:
    """Give one rank's part of a global batch: in order of rank the parts make up the batch. B is a multiple of world_size."""
    assert len(rows_B) % world_size == 0
    per_rank = len(rows_B) // world_size
    return rows_B[rank * per_rank : (rank + 1) * per_rank]
