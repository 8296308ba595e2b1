"""The gateway's application and settings, without a Triton behind."""

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from reelspace.core.errors import SettingError
from reelspace.core.local_store import LocalStore
from reelspace.core.settings import read
from reelspace.gateway.__main__ import parse_arguments
from reelspace.gateway.app import ServedModels, create_app
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.surroundings import connector
from reelspace.search.access.routes import DIALECT_VERSION
from reelspace.search.scheduling.create import create_collection
from reelspace.search.storage.layout import SPACE_POINTER, Collection, SpacePointer, VectorSettings, json_bytes

COLLECTION = Collection(name="videos", space_id="00112233aabbccdd", vectors={"": VectorSettings(dimension=4)}, num_shards=2)
NOWHERE = {"store": "unused", "triton_grpc": "127.0.0.1:9", "triton_http": "127.0.0.1:9", "ready_timeout_s": 0.5}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A gateway with a promoted collection of no rows, whose shards would be on a Triton that is not there."""
    store = LocalStore(tmp_path)
    create_collection(store, COLLECTION)
    facts = {"space_id": COLLECTION.space_id, "encoders": {}, "collection": COLLECTION.full_name, "alias": "videos", "generation": 1}
    store.put(SPACE_POINTER, json_bytes(SpacePointer(**facts, previous=None)))
    settings = read(GatewaySettings, NOWHERE)
    with TestClient(create_app(settings, store, connector(settings, store), ServedModels({}, {}))) as client:
        yield client


def test_living_does_not_need_triton_and_being_ready_does(client: TestClient) -> None:
    assert client.get("/healthz").status_code == 200
    response = client.get("/readyz")
    assert response.status_code == 503
    assert "shards [0, 1]" in response.json()["status"]["error"]


def test_query_without_triton_is_unavailable_and_names_the_shards(client: TestClient) -> None:
    response = client.post("/collections/videos/points/query", json={"query": [1, 2, 3, 4]})
    assert response.status_code == 503
    assert "shards [0, 1] failed" in response.json()["status"]["error"]
    assert response.headers["Retry-After"] == "1"


def test_words_are_refused_where_no_text_encoder_was_promoted(client: TestClient) -> None:
    response = client.post("/collections/videos/points/query", json={"query": {"text": "cat", "model": "text_encoder"}})
    assert response.status_code == 400
    assert response.json()["status"]["error"].startswith("query.text: no text encoder")


def test_collection_is_described_by_name_and_alias(client: TestClient) -> None:
    names = client.get("/collections").json()["result"]["collections"]
    assert names == [{"name": "videos@00112233"}]
    for name in ("videos", "videos@00112233"):
        result = client.get(f"/collections/{name}").json()["result"]
        assert result["aliases"] == ["videos"]
        assert result["config"]["params"]["vectors"] == {"size": 4, "distance": "Cosine"}


def test_requests_are_counted_by_route_and_not_by_address(client: TestClient) -> None:
    for name in ("videos", "a", "b", "c"):
        client.get(f"/collections/{name}")
    client.get("/no/such/place")
    lines = client.get("/metrics").text.splitlines()
    counts = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith("reelspace_requests_total")}
    assert counts['reelspace_requests_total{method="GET",route="/collections/{collection}",status="200"}'] == 1
    assert counts['reelspace_requests_total{method="GET",route="/collections/{collection}",status="404"}'] == 3
    assert counts['reelspace_requests_total{method="GET",route="unknown",status="404"}'] == 1


def test_command_line_becomes_settings() -> None:
    arguments = ["--store", "s3://b/p", "--triton-grpc", "localhost:1", "--triton-http", "localhost:2", "--port", "0"]
    settings = parse_arguments(arguments)
    assert (settings.store, settings.triton_grpc, settings.triton_http, settings.port) == ("s3://b/p", "localhost:1", "localhost:2", 0)
    assert (settings.host, settings.backend) == ("127.0.0.1", "triton")
    assert parse_arguments(["--store", "s3://b/p", "--backend", "local"]).triton_grpc is None


@pytest.mark.parametrize(
    ("key", "value"),
    [("triton_grpc", "http://x:1"), ("triton_http", "x"), ("port", 70_000), ("store", ""), ("triton_grpc", None), ("backend", "remote")],
)
def test_wrong_setting_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(SettingError, match=key):
        read(GatewaySettings, NOWHERE | {key: value})


def test_shards_on_triton_need_its_addresses_and_local_ones_do_not() -> None:
    with pytest.raises(SettingError, match="the backend triton needs triton_grpc"):
        read(GatewaySettings, {"store": "unused"})
    with pytest.raises(SettingError, match="the backend none needs triton_http"):
        read(GatewaySettings, {"store": "unused", "backend": "none"})
    assert read(GatewaySettings, {"store": "unused", "backend": "local"}).backend == "local"


def test_a_gateway_with_shards_of_its_own_serves_an_empty_store(tmp_path: Path) -> None:
    settings = read(GatewaySettings, {"store": str(tmp_path), "backend": "local"})
    store = LocalStore(tmp_path)
    with TestClient(create_app(settings, store, connector(settings, store))) as client:
        assert client.get("/readyz").status_code == 200
        assert client.get("/collections").json()["result"] == {"collections": []}
        body = {"vectors": {"size": 2, "distance": "Dot"}, "shard_number": 2}
        assert client.put("/collections/things", json=body).json()["result"] is True
        points = {"points": [{"id": number, "vector": [number, 1]} for number in range(5)]}
        assert client.put("/collections/things/points?wait=true", json=points).json()["result"]["status"] == "completed"
        found = client.post("/collections/things/points/query", json={"query": [1, 0], "limit": 2}).json()["result"]["points"]
        assert [point["id"] for point in found] == [4, 3]
        assert client.get("/readyz").status_code == 200
        assert client.get("/v2").status_code == 404


def test_the_version_told_is_that_of_the_official_client() -> None:
    assert DIALECT_VERSION.rpartition(".")[0] == metadata.version("qdrant-client").rpartition(".")[0]
