"""Bytes that change in a shard's memory: it answers nothing wrong, tells what is damaged, and loads its generation anew."""

import ctypes
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from reelspace.core.errors import CorruptArtifact
from reelspace.core.local_store import LocalStore
from reelspace.search.compute import loaded as loaded_module
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.compute.queries import Describe, ShardFacts, ShardQuery
from reelspace.search.compute.scrubbing import Pace
from reelspace.search.compute.shard import Shard
from reelspace.search.storage.layout import generation_key

from .publishing import DIMENSION, MADE

QUERY = ShardQuery(np.ones(DIMENSION, dtype=np.float32), 5)
PACE = Pace(period_s=0.05, bytes_per_s=1e12, core_share=1.0)


@pytest.fixture
def host(store: LocalStore) -> Iterator[ShardHost]:
    with ShardHost(store, MADE, 0, Hosting(poll_s=0.05, pace=PACE)) as host:
        yield host


def flip(shard: Shard) -> None:
    """Flip a bit of a stored vector."""
    ctypes.c_uint8.from_address(shard.indexes[""].sealed_vectors.ctypes.data + 5).value ^= 1


def answer_of(host: ShardHost) -> list[float] | str:
    try:
        scores: list[float] = host.search([QUERY]).scores_QK[0].tolist()
    except CorruptArtifact as error:
        return str(error)
    return scores


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, "in vain"
        time.sleep(0.005)


def num_damages(host: ShardHost) -> int:
    facts = host.read(Describe())
    assert isinstance(facts, ShardFacts)
    return facts.num_damages


def test_what_changed_in_memory_is_loaded_anew(host: ShardHost) -> None:
    right = answer_of(host)
    for number in range(1, 4):
        host.with_shard(flip)
        until(lambda: host._num_damages == number)  # noqa: B023
        until(lambda: answer_of(host) == right)
        assert num_damages(host) == number


def test_while_it_cannot_be_loaded_anew_it_answers_nothing_and_says_why(
    host: ShardHost, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded_module, "PATIENCE_S", 0.1)
    right, key = answer_of(host), generation_key(MADE.full_name, 0, 1, "vectors-0.npy")
    whole = store.get(key)
    store.put(key, whole[:-1] + b"x")
    host.with_shard(flip)
    until(lambda: isinstance(answer_of(host), str))
    for _ in range(20):
        told = answer_of(host)
        assert isinstance(told, str)
        assert told.startswith("generation 1 of shard 0 of works@01234567 is corrupt in memory: its vectors '' changed since it was loaded")
        time.sleep(0.02)
    store.put(key, whole)
    until(lambda: answer_of(host) == right)
    assert num_damages(host) == 1
