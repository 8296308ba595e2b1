"""Searches that come while a shard is changed: a short change is waited for, and a long row of them lets searches in between."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.access.log_writers import LogWriters
from reelspace.search.compute import host as host_module
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.compute.queries import ShardQuery
from reelspace.search.compute.shard import Shard
from reelspace.search.scheduling.create import create_collection
from reelspace.search.storage.layout import Collection, VectorSettings
from reelspace.search.storage.rows import Change, Op

MADE = Collection(name="things", space_id="0" * 16, vectors={"": VectorSettings(dimension=2)}, num_shards=1)
QUERY = [ShardQuery(np.array([1.0, 0.0], dtype=np.float32), 3)]
PATIENCE_S = 10.0
NUM_STEPS = 40


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ShardHost]:
    store = LocalStore(tmp_path)
    create_collection(store, MADE)
    with closing(LogWriters(store, MADE)) as writers:
        changes = [Change(Op.UPSERT, id, {"": [1.0, 0.001 * id]}) for id in range(10)]
        writers.submit("put", changes)[0].result()
    with ShardHost(store, MADE, 0, Hosting(poll_s=3600.0)) as host:
        yield host


@contextmanager
def held(host: ShardHost, *, is_change: bool) -> Iterator[threading.Event]:
    """Keep the shard for a change, or for a search, until the event is set or the block ends."""
    holds, ends = threading.Event(), threading.Event()

    def hold(_shard: Shard) -> None:
        holds.set()
        ends.wait(PATIENCE_S)

    thread = threading.Thread(target=host._change if is_change else host.with_shard, args=(hold,))
    thread.start()
    assert holds.wait(PATIENCE_S)
    try:
        yield ends
    finally:
        ends.set()
        thread.join()


def test_a_search_waits_for_a_short_change_on_the_spot(host: ShardHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "CHANGE_S", PATIENCE_S)
    with held(host, is_change=True) as ends:
        timer = threading.Timer(0.02, ends.set)
        timer.start()
        answer = host.search_now(QUERY)
        assert answer is not None
        assert answer[0].ids_QK3[0, :, 2].tolist() == [0, 1, 2]
        assert ends.is_set()


def test_a_search_is_left_to_a_thread_where_a_change_takes_long_or_another_search_is_at_work(host: ShardHost) -> None:
    with held(host, is_change=True):
        assert host.search_now(QUERY) is None
    with held(host, is_change=False), pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_module, "CHANGE_S", PATIENCE_S)
        start_s = time.monotonic()
        assert host.search_now(QUERY) is None
        assert time.monotonic() - start_s < PATIENCE_S / 2
    assert host.search_now(QUERY) is not None


def test_searches_come_in_between_the_steps_of_a_large_write(host: ShardHost, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[float] = []
    held: list[bool] = []

    def step() -> None:
        time.sleep(0.004)
        done.append(time.monotonic())

    def to_grow(_shard: Shard) -> Callable[[], None] | None:
        held.append(host._is_changing)
        time.sleep(0.001)
        return step if len(done) < NUM_STEPS else None

    monkeypatch.setattr(Shard, "to_grow", to_grow)
    with closing(LogWriters(host._store, MADE)) as writers:
        number = writers.submit("more", [Change(Op.UPSERT, 10, {"": [1.0, 0.0]})])[0].result()
    thread = threading.Thread(target=host.sync, args=(number, PATIENCE_S))
    thread.start()
    while not done:
        time.sleep(0.001)
    found = host.search(QUERY)
    assert found.ids_QK3[0, :, 2].tolist() == [0, 10, 1]
    assert len(done) < NUM_STEPS
    thread.join()
    assert len(done) == NUM_STEPS
    assert not any(held), "lists are looked up while searches go on"
