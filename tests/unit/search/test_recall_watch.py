"""What searches find is measured on queries that came, by an independent answer; a damaged index is noticed within a period."""

import gc
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss  # type: ignore[import-untyped]
import numpy as np
import pytest
from numpy.typing import NDArray

from reelspace.core.local_store import LocalStore
from reelspace.search.compute import recall_watch
from reelspace.search.compute.build import IndexSettings
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.compute.queries import Describe, ShardFacts, ShardQuery
from reelspace.search.compute.recall_watch import EVERY, MIN_QUERIES, RecallWatch
from reelspace.search.compute.shard import Shard
from reelspace.search.embedded import Database
from reelspace.search.scheduling.rebuild import rebuild_shard
from reelspace.search.storage.layout import Collection, Metric, read_collection
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import read_or_default

NUM_ROWS, DIMENSION, K = 3000, 16, 10
PERIOD_S = 0.05
Floats = NDArray[np.float32]


def rows(num: int, seed: int) -> Floats:
    return np.random.default_rng(seed).standard_normal((num, DIMENSION)).astype(np.float32)


@pytest.fixture(params=["cosine", "dot", "euclid"])
def metric(request: pytest.FixtureRequest) -> Metric:
    found: Metric = request.param
    return found


@pytest.fixture
def store(tmp_path: Path, metric: Metric) -> LocalStore:
    with Database(tmp_path / "store") as database:
        made = database.create_collection("things", DIMENSION, metric)
        made.upsert(list(range(NUM_ROWS)), rows(NUM_ROWS, 1))
        made.optimize(IndexSettings(flat_below=1, recall_target=0.95))
        made.upsert([7, NUM_ROWS], 3 * rows(2, 5))
        made.delete([8, 9])
    return LocalStore(tmp_path / "store")


def made_of(store: LocalStore) -> Collection:
    [full_name] = read_or_default(store, Names, NAMES_KEY).collections.values()
    return read_collection(store, full_name)


@pytest.fixture
def host(store: LocalStore) -> Iterator[ShardHost]:
    with ShardHost(store, made_of(store), 0, Hosting(recall_s=PERIOD_S)) as hosted:
        yield hosted


def facts(host: ShardHost) -> ShardFacts:
    found = host.read(Describe())
    assert isinstance(found, ShardFacts)
    return found


def ask(host: ShardHost, num: int, seed: int = 2) -> None:
    for vector_D in rows(num, seed):
        host.search([ShardQuery(vector_D, K)])


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, "in vain"
        time.sleep(0.01)


def damage(shard: Shard) -> None:
    """Let the lists have each other's centroids, as in memory that changed: queries look where their neighbours are not."""
    [index] = shard.indexes.values()
    quantizer = faiss.downcast_index(index._placed.index.quantizer)
    centroids_LD = quantizer.reconstruct_n(0, quantizer.ntotal)
    quantizer.reset()
    quantizer.add(np.ascontiguousarray(centroids_LD[::-1]))


def recall_of(host: ShardHost, vectors_QD: Floats) -> float:
    """Compare with the shard's own exact search, which the watch does not use."""

    def both(shard: Shard) -> list[float]:
        found, exact = shard.search(vectors_QD, K).rows_QK, shard.search_exactly(vectors_QD, K).rows_QK
        return [len(np.intersect1d(one, other)) / K for one, other in zip(found, exact, strict=True)]

    return float(np.mean(host.with_shard(both)))


def test_nothing_is_said_before_enough_queries_came(host: ShardHost) -> None:
    ask(host, (MIN_QUERIES - 2) * EVERY)
    time.sleep(5 * PERIOD_S)
    assert facts(host).recall is None
    assert not facts(host).has_low_recall


@pytest.mark.parametrize("is_damaged", [False, True])
def test_the_recall_is_that_of_exact_answers(host: ShardHost, is_damaged: bool) -> None:
    if is_damaged:
        host.with_shard(damage)
    watch, queries_QD = RecallWatch(), rows(30, 3)
    for vector_D in queries_QD:
        watch.see(vector_D, "", b"", EVERY)
    looked = watch.look(host._state, lambda: host._current.shard)
    assert looked is not None
    assert (looked[1].num_queries, looked[1].target) == (30, pytest.approx(0.95))
    assert looked[1].found == pytest.approx(recall_of(host, queries_QD), abs=0.002)
    assert (looked[1].found < 0.9) == is_damaged


def test_lone_queries_are_seen_too(store: LocalStore, tmp_path: Path) -> None:
    made = made_of(store)
    rebuild_shard(store, made, 0, IndexSettings(flat_below=1), tmp_path)
    with ShardHost(store, made, 0, Hosting(recall_s=PERIOD_S)) as host:
        for vector_D in rows(MIN_QUERIES * EVERY, 4):
            assert host.lone(ShardQuery(vector_D / np.float32(np.linalg.norm(vector_D)), K)) is not None
        until(lambda: facts(host).recall is not None)


def test_a_damaged_index_is_noticed_within_a_period_and_the_next_generation_is_well(
    host: ShardHost, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With so short a period a look takes a share of it that a busy machine makes large.
    monkeypatch.setattr(recall_watch, "REST", 1)
    ask(host, MIN_QUERIES * EVERY)
    until(lambda: facts(host).recall is not None)
    assert not facts(host).has_low_recall
    host.with_shard(damage)
    begun_s = time.monotonic()
    until(lambda: facts(host).has_low_recall)
    assert time.monotonic() - begun_s < 20 * PERIOD_S
    rebuild_shard(store, made_of(store), 0, IndexSettings(flat_below=1, recall_target=0.95), tmp_path)
    host.refresh()
    assert facts(host).recall is None or not facts(host).has_low_recall
    until(lambda: facts(host).recall is not None)
    assert not facts(host).has_low_recall


def test_a_watch_keeps_no_shard_that_another_has_replaced(host: ShardHost, store: LocalStore, tmp_path: Path) -> None:
    ask(host, MIN_QUERIES * EVERY)
    until(lambda: facts(host).recall is not None)
    before = host.with_shard(weakref.ref)
    rebuild_shard(store, made_of(store), 0, IndexSettings(), tmp_path)  # flat: nothing is looked at any more
    host.refresh()
    host._loaded = (host._current,)
    until(lambda: gc.collect() >= 0 and before() is None)
