"""Which works a step sees: a pure function of the seed and the step, the same for any number of processes.

Legend: N works, B works of a global batch, K labels.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reelspace.core.errors import UserError
from reelspace.core.rng import uniform_BN
from reelspace.media.sampler import Sampler
from reelspace.train.data import TrainData
from reelspace.train.settings import RunSettings, TrainSettings

Order = Callable[[int], NDArray[np.int64]]
"""Gives the rows of a step's global batch, each at most once."""


def order_of(data: TrainData, settings: RunSettings) -> Order:
    """Give the order that the settings name; what it needs of all works is counted once.

    Raises:
        UserError: a batch is larger than the corpus.
    """
    num_works = len(data.ids_N)
    if settings.batch_size > num_works:
        raise UserError(f"batch_size is {settings.batch_size} and {num_works} works train: expected at most as many, lower batch_size")
    if settings.order == "shuffled":
        return shuffled(data, settings)
    weights_N = sample_weights_N(data)
    if isinstance(settings, TrainSettings) and settings.replay is not None and data.is_new_N is not None:
        weights_N = shared_weights_N(weights_N, data.is_new_N, settings.replay.new_share)
    return lambda step: batch_rows(data, settings, step, weights_N)


def shuffled(data: TrainData, settings: RunSettings) -> Order:
    """Give whole batches of shuffled epochs: shards in a random order, works at random among a few shards at a time.

    No work comes twice in an epoch. The works at its end that do not fill a batch are left out, other ones in every epoch: in a batch
    with the beginning of the next epoch a work could meet itself, and would be pushed away from itself as if it were another one.
    """
    num_works, size = len(data.ids_N), settings.batch_size
    per_epoch = num_works // size
    shard_N = np.zeros(num_works, dtype=np.int64) if data.shard_N is None else data.shard_N
    sampler = Sampler(settings.seed, shard_N, settings.order_window)

    def rows(step: int) -> NDArray[np.int64]:
        epoch, number = divmod(step, per_epoch)
        return sampler.rows(epoch * num_works + number * size, size)

    return rows


def batch_rows(data: TrainData, settings: RunSettings, step: int, weights_N: NDArray[np.float64]) -> NDArray[np.int64]:
    """Draw the global batch of a step: weighted, without replacement (Efraimidis and Spirakis, 2006: the largest u^(1/w))."""
    draws_N = uniform_BN(settings.seed, step, data.ids_N, "sample", 1)[:, 0]
    keys_N = np.log(np.maximum(draws_N, 1e-300)) / weights_N
    return np.sort(np.argsort(-keys_N, kind="stable")[: settings.batch_size]).astype(np.int64)


def sample_weights_N(data: TrainData) -> NDArray[np.float64]:
    """Weight works by the inverse square root of their rarest label's frequency; works without labels weigh as the mean."""
    if not data.labels_NK.shape[1]:
        return np.ones(len(data.ids_N))
    present = data.labels_NK > 0
    counts_K = np.maximum(present.sum(axis=0), 1)
    inverse_NK = np.where(present, 1 / np.sqrt(counts_K), np.nan)
    labelled = present.any(axis=1)
    weights = np.ones(len(data.ids_N))
    if labelled.any():
        weights[labelled] = np.nanmean(inverse_NK[labelled], axis=1)
        weights[labelled] /= weights[labelled].mean()
    return np.clip(weights, 0.3, 3.0)


def shared_weights_N(weights_N: NDArray[np.float64], is_new_N: NDArray[np.bool_], new_share: float) -> NDArray[np.float64]:
    """Scale weights so that new works have this share of their sum, and the replayed ones the rest."""
    sum_new, sum_old = weights_N[is_new_N].sum(), weights_N[~is_new_N].sum()
    return np.where(is_new_N, weights_N * new_share / sum_new, weights_N * (1 - new_share) / sum_old)
