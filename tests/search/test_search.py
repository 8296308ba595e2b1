"""Search through gateway, Triton and two shards, against brute force."""

import warnings

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from qdrant_client import QdrantClient
from qdrant_client import models as qdrant

from reelspace.core.errors import UserError
from reelspace.search.client import SearchClient
from reelspace.search.measure import Gallery, exact_ids_QK, measure_search
from reelspace.search.storage.layout import shard_of_ids

from .conftest import NUM_ROWS, NUM_TWINS, SPACE_ID, Running

Floats = NDArray[np.float32]
COLLECTION = f"videos@{SPACE_ID[:8]}"


def post(running: Running, path: str, body: object) -> httpx.Response:
    return httpx.post(f"{running.url}/collections/videos/points/{path}", json=body, timeout=30)


def without(gallery: Gallery, ids: list[int]) -> Gallery:
    kept = ~np.isin(gallery.ids_N, ids)
    return Gallery(gallery.ids_N[kept], gallery.vectors_ND[kept])


def test_hits_and_scores_equal_brute_force(running: Running, queries_QD: Floats) -> None:
    exact_QK = exact_ids_QK(queries_QD, running.gallery, 10)
    row_of = {int(one): row for row, one in enumerate(running.gallery.ids_N)}
    with SearchClient(running.url) as client:
        for query_D, exact_K in zip(queries_QD, exact_QK, strict=True):
            hits = client.query(query_D)
            assert [hit.id for hit in hits] == exact_K.tolist()
            exact_scores = running.gallery.vectors_ND[[row_of[hit.id] for hit in hits]].astype(np.float64) @ query_D
            np.testing.assert_allclose([hit.score for hit in hits], exact_scores, atol=1e-6)


def test_twins_in_different_shards_are_ordered_by_id_also_across_the_last_place(running: Running) -> None:
    ids_N, vectors_ND = running.gallery.ids_N, running.gallery.vectors_ND
    shard_N = shard_of_ids(ids_N, 2)
    pairs = [(row, row + NUM_ROWS - NUM_TWINS) for row in range(NUM_TWINS)]
    assert any(shard_N[a] != shard_N[b] for a, b in pairs)
    assert any(shard_N[a] == shard_N[b] for a, b in pairs)
    with SearchClient(running.url) as client:
        for a, b in pairs:
            expected = sorted([int(ids_N[a]), int(ids_N[b])])
            assert [hit.id for hit in client.query(vectors_ND[a], limit=2)] == expected
            assert [hit.id for hit in client.query(vectors_ND[a], limit=1)] == expected[:1]


def test_excluded_ids_are_never_hits_and_their_places_are_filled(running: Running, queries_QD: Floats) -> None:
    with SearchClient(running.url) as client:
        for query_D in queries_QD[:16]:
            best = [hit.id for hit in client.query(query_D, limit=30)]
            excluded = [*best[:25], 5]
            exact_K = exact_ids_QK(query_D[None], without(running.gallery, excluded), 10)[0]
            assert [hit.id for hit in client.query(query_D, exclude_ids=excluded)] == exact_K.tolist()


def test_a_point_id_finds_its_neighbours_without_itself(running: Running) -> None:
    own, vector_D = int(running.gallery.ids_N[100]), running.gallery.vectors_ND[100]
    expected = exact_ids_QK(vector_D[None], without(running.gallery, [own]), 10)[0].tolist()
    with SearchClient(running.url) as client:
        assert [hit.id for hit in client.query(own)] == expected
        with pytest.raises(UserError, match="no point with id 3"):
            client.query(3)


def test_words_are_embedded_by_the_promoted_encoder(running: Running) -> None:
    body = {"inputs": [{"name": "TEXT", "datatype": "BYTES", "shape": [1, 1], "data": ["ramen soup"]}]}
    outputs = httpx.post(f"{running.url}/v2/models/text_encoder/infer", json=body, timeout=30).json()["outputs"]
    vector_D = np.array(next(output["data"] for output in outputs if output["name"] == "EMBEDDING"), dtype=np.float32)
    with SearchClient(running.url) as client:
        assert [hit.id for hit in client.query("ramen soup")] == exact_ids_QK(vector_D[None], running.gallery, 10)[0].tolist()


def test_payload_belongs_to_its_hit(running: Running, queries_QD: Floats) -> None:
    with SearchClient(running.url) as client:
        for hit in client.query(queries_QD[0], limit=50):
            assert hit.payload["video_id"] == hit.id
            assert hit.payload["kind"] == ("video" if hit.id % 2 else "image")
            assert hit.payload["created_at"].startswith("2025-01-")
            assert hit.payload["created_at"].endswith("Z")
        assert all(hit.payload == {} for hit in client.query(queries_QD[0], with_payload=False))


def test_more_hits_than_rows_gives_every_row_once(running: Running, queries_QD: Floats) -> None:
    found = post(running, "query", {"query": queries_QD[0].tolist(), "limit": 2048}).json()["result"]["points"]
    assert [point["id"] for point in found] == exact_ids_QK(queries_QD[:1], running.gallery, 2048)[0].tolist()
    scores = [point["score"] for point in found]
    assert scores == sorted(scores, reverse=True)
    assert np.isfinite(scores).all()


def test_batch_answers_equal_single_ones(running: Running, queries_QD: Floats) -> None:
    searches = [{"query": query_D.tolist(), "limit": 1 + number % 20} for number, query_D in enumerate(queries_QD)]
    batch = post(running, "query/batch", {"searches": searches}).json()["result"]
    singles = [post(running, "query", search).json()["result"] for search in searches[:8]]
    assert batch[:8] == singles
    assert [len(one["points"]) for one in batch] == [search["limit"] for search in searches]


def test_answers_say_what_they_cover(running: Running, queries_QD: Floats) -> None:
    result = post(running, "query", {"query": queries_QD[0].tolist()}).json()["result"]
    assert result["coverage"] == {"rows": NUM_ROWS, "of": NUM_ROWS, "missing_shards": []}
    assert result["generation"] == [1, 1]
    assert result["space_id"] == SPACE_ID


def test_official_client_works_unchanged(running: Running, queries_QD: Floats) -> None:
    client = QdrantClient(url=running.url, check_compatibility=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        query = queries_QD[0].tolist()
        exact_K = exact_ids_QK(queries_QD[:1], running.gallery, 10)[0].tolist()
        assert [collection.name for collection in client.get_collections().collections] == [COLLECTION]
        assert client.get_collection("videos").points_count == NUM_ROWS
        found = client.query_points("videos", query=query, limit=10)
        assert [point.id for point in found.points] == exact_K
        assert found.points[0].payload is not None
        assert found.points[0].payload["video_id"] == exact_K[0]
        has_id = qdrant.Filter(must_not=[qdrant.HasIdCondition(has_id=exact_K[:3])])
        assert [point.id for point in client.query_points(COLLECTION, query=query, limit=7, query_filter=has_id).points] == exact_K[3:]
        assert client.query_points("videos", query=exact_K[0], limit=1).points[0].id != exact_K[0]
        batch = client.query_batch_points("videos", [qdrant.QueryRequest(query=query, limit=3), qdrant.QueryRequest(query=query, limit=1)])
        assert [[point.id for point in one.points] for one in batch] == [exact_K[:3], exact_K[:1]]
    client.close()


def test_official_client_asks_in_words(running: Running) -> None:
    client = QdrantClient(url=running.url, check_compatibility=False, cloud_inference=True)
    found = client.query_points("videos", query=qdrant.Document(text="ramen soup", model="text_encoder"), limit=5)
    with SearchClient(running.url) as own:
        assert [point.id for point in found.points] == [hit.id for hit in own.query("ramen soup", limit=5)]
    client.close()


def test_queries_of_many_clients_travel_together(running: Running, queries_QD: Floats) -> None:
    figures = measure_search(running.url, running.gallery, queries_QD, concurrency=8, num_queries=200)
    assert figures.recall_at_10 == 1.0
    assert figures.rows == NUM_ROWS
    metrics = httpx.get(f"{running.url}/metrics").text
    counts = {
        line.split(" ")[0]: float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith("reelspace_search_batch_")
    }
    assert counts["reelspace_search_batch_sum"] > counts["reelspace_search_batch_count"]
    assert 'route="/collections/{collection}/points/query"' in metrics


def test_health_tells_apart_living_and_ready(running: Running) -> None:
    assert httpx.get(f"{running.url}/healthz").status_code == 200
    assert httpx.get(f"{running.url}/readyz").status_code == 200
