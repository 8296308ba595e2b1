"""Writes into the promoted collection, through the gateway into the log, from where the shards on Triton read them."""

import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from .conftest import DIMENSION, Running, unit

FIRST_ID = 1_000_000_000


@pytest.fixture
def client(running: Running) -> Iterator[QdrantClient]:
    client = QdrantClient(url=running.url, check_compatibility=False)
    yield client
    client.delete("videos", models.FilterSelector(filter=models.Filter(must=[models.HasIdCondition(has_id=list(own_ids()))])), wait=True)
    client.close()


def own_ids() -> range:
    return range(FIRST_ID, FIRST_ID + 60)


def own_vectors(seed: int) -> NDArray[np.float32]:
    return unit(np.random.default_rng(seed).standard_normal((60, DIMENSION)))


def put(client: QdrantClient, vectors_ND: NDArray[np.float32], *, wait: bool) -> None:
    payload = {"kind": "written"}
    points = [
        models.PointStruct(id=id, vector=vector_D.tolist(), payload=payload) for id, vector_D in zip(own_ids(), vectors_ND, strict=True)
    ]
    client.upsert("videos", points, wait=wait)


def best(client: QdrantClient, vector_D: NDArray[np.float32]) -> int | str | object:
    return client.query_points("videos", vector_D.tolist(), limit=1).points[0].id


def test_what_was_waited_for_is_found_by_the_next_search_and_gone_after_its_delete(client: QdrantClient) -> None:
    for seed in (1, 2):
        vectors_ND = own_vectors(seed)
        put(client, vectors_ND, wait=True)
        assert [best(client, vector_D) for vector_D in vectors_ND] == list(own_ids())
    client.delete("videos", list(own_ids())[:30], wait=True)
    assert not set(own_ids()[:30]) & {best(client, vector_D) for vector_D in vectors_ND}
    written = models.Filter(must=[models.FieldCondition(key="kind", match=models.MatchValue(value="written"))])
    assert client.count("videos", written).count == 30
    client.set_payload("videos", {"kind": "changed"}, list(own_ids())[30:40], wait=True)
    assert client.count("videos", written).count == 20
    assert [point.id for point in client.scroll("videos", written, limit=5)[0]] == list(own_ids())[40:45]


def test_what_was_not_waited_for_is_found_within_a_second(client: QdrantClient) -> None:
    vectors_ND = own_vectors(3)
    put(client, vectors_ND, wait=False)
    start_s = time.monotonic()
    while any(best(client, vector_D) != id for vector_D, id in zip(vectors_ND, own_ids(), strict=True)):
        assert time.monotonic() - start_s < 5, "visible long after the poll of a second"


def test_a_row_that_is_not_finite_is_refused_and_nothing_of_its_request_enters(client: QdrantClient, running: Running) -> None:
    points = [{"id": FIRST_ID + number, "vector": [1e39 if number == 3 else 0.5] * DIMENSION} for number in range(5)]
    response = httpx.put(f"{running.url}/collections/videos/points?wait=true", json={"points": points}, timeout=30)
    assert response.status_code == 400
    assert "points[3]" in response.json()["status"]["error"]
    assert client.retrieve("videos", [FIRST_ID]) == []
