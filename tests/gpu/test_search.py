"""Shards on a GPU find what the same shards on the processor find, with filters and without, and swap generations where there is room."""

import time
from pathlib import Path

import numpy as np
import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.compute.build import IndexSettings
from reelspace.search.compute.filters import Filter, NumberRange, encode_filter
from reelspace.search.compute.generation import Placement
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.compute.library import faiss
from reelspace.search.compute.loaded import NoRoom
from reelspace.search.compute.shard import Shard
from reelspace.search.scheduling.generations import point_collection, publish_generation
from tests.unit.search.builders import exact_ids, ids_of, make_collection, make_index, make_queries, make_table

NUM_GPUS = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not NUM_GPUS, reason="this faiss sees no GPU")]
NUM_ROWS, DIMENSION, K, BATCH = 60_000, 64, 10, 1000
TABLE = make_table(NUM_ROWS, DIMENSION, clusters=400)
QUERIES_QD = make_queries(200, DIMENSION)
HALF = encode_filter(Filter(must=(NumberRange("number", lt=float(np.median(TABLE.ids_N))),)))
SETTINGS = IndexSettings()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    root = tmp_path_factory.mktemp("gpu")
    store = LocalStore(root / "store")
    made = make_collection(DIMENSION, num_shards=1)
    point_collection(store, publish_generation(store, make_index(store, root / "index", TABLE, made), root / "fetched"))
    return store


def hosted(store: LocalStore, device: int | None, max_bytes: int | None = None) -> ShardHost:
    return ShardHost(store, make_collection(DIMENSION, num_shards=1), 0, Hosting(Placement(device), poll_s=3600.0, max_bytes=max_bytes))


def found(shard: Shard, where: bytes) -> list[list[int]]:
    return ids_of(shard, shard.search(QUERIES_QD, K, where=where).rows_QK)


@pytest.mark.parametrize("where", [b"", HALF], ids=["all", "half"])
def test_a_gpu_finds_what_the_processor_finds(store: LocalStore, where: bytes) -> None:
    """Also filters, whether this faiss has cuVS or ignores selectors: then more is fetched and what is not allowed dropped."""
    with hosted(store, None) as own, hosted(store, 0) as gpu:
        expected, answered = (host.with_shard(lambda shard: found(shard, where)) for host in (own, gpu))
    forbidden = {int(id) for id in TABLE.ids_N if where and id >= np.median(TABLE.ids_N)}
    exact = exact_ids(TABLE, QUERIES_QD, K, forbidden)
    recalls = [np.mean([len(set(ids) & set(best)) / K for ids, best in zip(some, exact, strict=True)]) for some in (expected, answered)]
    assert recalls[1] >= recalls[0] - 0.01
    assert not any(id in forbidden for ids in answered for id in ids)


def test_a_generation_is_admitted_to_a_gpu_only_where_there_is_room_for_both(store: LocalStore, tmp_path: Path) -> None:
    made = make_collection(DIMENSION, num_shards=1)
    with hosted(store, 0) as gpu:
        size_bytes = gpu.with_shard(lambda shard: shard.size_bytes)
    with hosted(store, 0, int(1.5 * size_bytes)) as tight, hosted(store, 0, 4 * size_bytes) as wide:
        next_one = make_index(store, tmp_path / "next", make_table(NUM_ROWS, DIMENSION, seed=1, clusters=400), made)
        point_collection(store, publish_generation(store, next_one, tmp_path / "fetched"))
        with pytest.raises(NoRoom, match="beside"):
            tight.refresh()
        wide.refresh()
        assert (tight.generation, wide.generation) == (1, 2)
        assert set(wide.loaded) == {1, 2}


def test_the_rate_of_a_gpu_in_batches_of_a_thousand_is_told(store: LocalStore) -> None:
    queries_QD = make_queries(BATCH, DIMENSION, seed=5)
    for device in (None, 0):
        with hosted(store, device) as host:
            host.with_shard(lambda shard: shard.search(queries_QD, K))
            begun_s = time.perf_counter()
            for _ in range(5):
                host.with_shard(lambda shard: shard.search(queries_QD, K))
            print(f"device {device}: {5 * BATCH / (time.perf_counter() - begun_s):,.0f} queries/s in batches of {BATCH}")
