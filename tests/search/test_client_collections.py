"""Collections that clients make while shards are on Triton: loaded when they are first asked for, following their generations."""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from reelspace.gateway.servers import served_models
from reelspace.search.compute.build import IndexSettings
from reelspace.search.scheduling.rebuild import rebuild_shard
from reelspace.search.storage.followed import followed_key
from reelspace.search.storage.layout import Collection, collection_key, read_file, shard_model
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import read_or_default

from .conftest import Promoted, Running, unit

NUM_ROWS, SIZE = 300, 12


@pytest.fixture
def client(running: Running) -> Iterator[QdrantClient]:
    client = QdrantClient(url=running.url, check_compatibility=False, timeout=30)
    yield client
    client.close()


def is_ready(running: Running, model: str) -> bool:
    return httpx.get(f"{running.triton.http_url}/v2/models/{model}/ready", timeout=5).status_code == 200


def test_a_new_collection_is_served_by_triton_follows_its_next_generation_and_is_unloaded_when_deleted(
    client: QdrantClient, running: Running, promoted: Promoted
) -> None:
    vectors_ND = unit(np.random.default_rng(5).standard_normal((NUM_ROWS, SIZE)))
    client.create_collection("made", models.VectorParams(size=SIZE, distance=models.Distance.COSINE), shard_number=2)
    client.upsert("made", models.Batch(ids=list(range(NUM_ROWS)), vectors=vectors_ND.tolist()), wait=True)
    full_name = read_or_default(promoted.store, Names, NAMES_KEY).collections["made"]
    shards = [shard_model(full_name, shard) for shard in range(2)]
    assert all(is_ready(running, shard) for shard in shards)

    def best() -> list[object]:
        asked = [models.QueryRequest(query=vector_D.tolist(), limit=1) for vector_D in vectors_ND[:50]]
        return [answer.points[0].id for answer in client.query_batch_points("made", asked)]

    assert best() == list(range(50))
    made = read_file(promoted.store, Collection, collection_key(full_name))
    with TemporaryDirectory() as scratch:
        for shard in range(2):
            rebuild_shard(promoted.store, made, shard, IndexSettings(), Path(scratch))
    until_s = time.monotonic() + 20
    while (told := httpx.get(f"{running.url}/collections/made", timeout=5).json()["result"])["unsealed"] or min(told["generation"]) < 2:
        assert time.monotonic() < until_s, told
        time.sleep(0.1)
    assert best() == list(range(50))
    assert client.delete_collection("made")
    while any(is_ready(running, shard) for shard in shards):
        assert time.monotonic() < until_s + 20
        time.sleep(0.1)


def test_of_what_was_promoted_the_encoders_and_the_shards_are_loaded(promoted: Promoted) -> None:
    assert served_models(promoted.store) == ["text_encoder", *(f"shard-videos.01234567-{shard}" for shard in range(2))]
    assert promoted.store.exists(followed_key("videos@01234567", 0))
