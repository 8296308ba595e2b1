"""Shards on a GPU find what the same shards on the processor find, with filters and without, and swap generations where there is room."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from reelspace.core.local_store import LocalStore
from reelspace.search.compute.build import IndexSettings
from reelspace.search.compute.filters import Filter, NumberRange, encode_filter
from reelspace.search.compute.generation import Placement
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.compute.library import faiss
from reelspace.search.compute.place import LIBRARY_BYTES, MAX_CANDIDATES, MAX_LISTS, SCRATCH_BYTES, NoRoom, free_bytes
from reelspace.search.compute.shard import MAX_K, Shard
from reelspace.search.compute.vector_index import SPARE_CANDIDATES
from reelspace.search.scheduling.generations import point_collection, publish_generation
from reelspace.search.storage.entries import Entry, Write
from reelspace.search.storage.rows import Change, Op, rows_of
from tests.unit.search.builders import exact_ids, ids_of, make_collection, make_index, make_queries, make_shard, make_table, recalls

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
    assert not any(forbidden.intersection(ids) for ids in answered)


@pytest.mark.parametrize("kind", ["flat", "ivf_sq8", "ivf_pq", "ivf_pqfs", "hnsw"])
def test_every_kind_of_index_finds_as_much(kind: str) -> None:
    """Also where a GPU has no form of it, or cannot give so many candidates."""
    settings = IndexSettings(kind=kind, flat_below=1, recall_target=0.9, num_recall_queries=64, num_threads=8)
    own, gpu = (make_shard(TABLE, settings, device) for device in (None, 0))
    queries_QD = QUERIES_QD[:20]
    for share, k in ((1.0, K), (1.0, MAX_CANDIDATES - SPARE_CANDIDATES), (1.0, MAX_K), (0.5, K), (0.4, 200), (0.4, 1000), (0.0005, K)):
        of_both = recalls(TABLE, (own, gpu), queries_QD, share, k)
        print(f"{kind}, {share:.2%} allowed, k = {k}: recall {of_both[0]:.4f} on the processor, {of_both[1]:.4f} on the GPU")
        assert of_both[1] >= of_both[0] - 0.01


def test_more_lists_than_a_gpu_visits_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reelspace.search.compute.build.num_lists", lambda _: MAX_LISTS + 100)
    table = make_table(90_000, 16, clusters=400)
    shard = make_shard(table, IndexSettings(flat_below=1, num_recall_queries=64, num_threads=8), device=0)
    queries_QD = make_queries(3)
    k = MAX_K
    found = ids_of(shard, shard.search(queries_QD, k).rows_QK)
    assert all(len(set(ids)) == k for ids in found)


@pytest.mark.parametrize("kind", ["flat", "ivf_sq8", "ivf_pq"])
def test_deleted_rows_are_no_hits(kind: str) -> None:
    shard = make_shard(TABLE, IndexSettings(kind=kind, flat_below=1, recall_target=0.9, num_recall_queries=64, num_threads=8), device=0)
    before = found(shard, b"")
    gone = {id for ids in before for id in ids[:5]}
    shard.add(Entry(1, (Write("key", 1, rows_of([Change(Op.DELETE, id) for id in gone], make_collection(DIMENSION).fields)),)))
    after = found(shard, b"")
    assert all(len(ids) == K and not gone.intersection(ids) for ids in after)


def test_shards_on_one_gpu_are_searched_at_once() -> None:
    shards = [
        make_shard(make_table(30_000, DIMENSION, seed=seed, clusters=200), IndexSettings(num_threads=4), device=0) for seed in (1, 2, 3)
    ]
    alone = [found(shard, b"") for shard in shards]
    with ThreadPoolExecutor(len(shards)) as pool:
        for _ in range(20):
            assert list(pool.map(lambda shard: found(shard, b""), shards)) == alone


def test_an_index_takes_of_a_gpu_what_it_says_and_a_scratch_of_its_own() -> None:
    table = make_table(400_000, DIMENSION, clusters=400)
    make_shard(TABLE, IndexSettings(num_threads=8), device=0)  # the libraries' own
    before = torch.cuda.mem_get_info()[0]
    shard = make_shard(table, IndexSettings(recall_target=0.5, num_recall_queries=64, num_threads=8), device=0)
    taken = before - torch.cuda.mem_get_info()[0]
    codes = shard.size_bytes - shard.indexes[""].sealed_vectors.nbytes
    print(f"{taken / 2**20:.0f} MiB taken, {codes / 2**20:.0f} MiB of codes, {SCRATCH_BYTES / 2**20:.0f} MiB of scratch")
    assert taken <= 1.25 * codes + SCRATCH_BYTES + LIBRARY_BYTES
    assert free_bytes(0) == torch.cuda.mem_get_info()[0]


def test_a_gpu_whose_memory_is_taken_refuses_a_generation_and_takes_it_later(store: LocalStore, tmp_path: Path) -> None:
    made = make_collection(DIMENSION, num_shards=1)
    with hosted(store, 0) as gpu:
        serving = gpu.generation
        next_one = make_index(store, tmp_path / "next", make_table(NUM_ROWS, DIMENSION, seed=3, clusters=400), made)
        point_collection(store, publish_generation(store, next_one, tmp_path / "fetched"))
        free = torch.cuda.mem_get_info()[0]
        taken = torch.empty(free - (8 << 20), dtype=torch.uint8, device="cuda")
        with pytest.raises(NoRoom, match="GPU 0 has no room"):
            gpu.refresh()
        assert gpu.generation == serving
        assert len(gpu.with_shard(lambda shard: found(shard, b""))[0]) == K
        del taken
        torch.cuda.empty_cache()
        gpu.refresh()
        assert gpu.generation == serving + 1


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
        assert wide.generation == tight.generation + 1
        assert set(wide.loaded) == {tight.generation, wide.generation}


def test_the_rate_of_a_gpu_in_batches_of_a_thousand_is_told(store: LocalStore) -> None:
    queries_QD = make_queries(BATCH, DIMENSION, seed=5)
    for device in (None, 0):
        with hosted(store, device) as host:
            host.with_shard(lambda shard: shard.search(queries_QD, K))
            begun_s = time.perf_counter()
            for _ in range(5):
                host.with_shard(lambda shard: shard.search(queries_QD, K))
            print(f"device {device}: {5 * BATCH / (time.perf_counter() - begun_s):,.0f} queries/s in batches of {BATCH}")
