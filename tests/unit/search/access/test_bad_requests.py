"""What clients get wrong, over HTTP: refused by field before any shard sees it, and the next good request is answered."""

import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from reelspace.core.local_store import LocalStore

from ..oracle_shard import OracleBackend
from .serving import connect_to, serving

QUERY = {"query": [1, 2]}
POINT = {"points": [{"id": 1, "vector": [1, 2], "payload": {"a": 1}}]}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    store = LocalStore(tmp_path_factory.mktemp("store"))
    with serving(store, connect_to(OracleBackend(store))) as url, httpx.Client(base_url=url, timeout=30) as client:
        assert client.put("/collections/things", json={"vectors": {"size": 2, "distance": "Cosine"}}).status_code == 200
        assert client.put("/collections/things/points?wait=true", json=POINT).status_code == 200
        yield client


@pytest.fixture(autouse=True)
def unharmed(client: httpx.Client) -> Iterator[None]:
    """Whatever a test sent, the one point is there and a good query is answered."""
    yield
    response = client.post("/collections/things/points/query", json=QUERY | {"with_payload": True})
    assert [(point["id"], point["payload"]) for point in response.json()["result"]["points"]] == [(1, {"a": 1})]


def refused(response: httpx.Response, status: int, field: str) -> None:
    assert response.status_code == status, response.text
    error = response.json()["status"]["error"]
    assert field in error
    assert "\n" not in error
    assert len(error) < 500


REQUESTS = [
    ("POST", "points/query", {"query": [1, "1.0"]}, 400, "query[1]"),
    ("POST", "points/query", {"query": [1]}, 400, "query"),
    ("POST", "points/query", {"query": [0, 0]}, 400, "query"),
    ("POST", "points/query", QUERY | {"limit": 0}, 400, "limit"),
    ("POST", "points/query", QUERY | {"limit": 2**31}, 400, "limit"),
    ("POST", "points/query", QUERY | {"params": {"hnsw_ef": 10**9}}, 501, "params.hnsw_ef"),
    ("POST", "points/query", QUERY | {"filter": {"must": [{"key": "a", "match": {"text": "(a+)+$"}}]}}, 501, "match text"),
    ("POST", "points/query", QUERY | {"filter": {"must": [{"key": "a", "match": {"any": list(range(65_537))}}]}}, 400, "65536 values"),
    ("POST", "points/query", {"query": 7}, 404, "no point with id 7"),
    ("POST", "points/query", {"query": {"text": "x", "model": "m", "options": 0}}, 400, "query.options"),
    ("POST", "points/query/batch", {"searches": []}, 400, "searches"),
    ("POST", "points/query/batch", {"searches": [QUERY] * 513}, 400, "searches"),
    ("POST", "points/query/batch", {"searches": [QUERY, {"query": [1, None]}]}, 400, "searches[1].query[1]"),
    ("POST", "points/query/groups", QUERY, 400, "group_by"),
    ("POST", "points/query/groups", QUERY | {"group_by": "a", "with_lookup": "b"}, 501, "with_lookup"),
    ("PUT", "points", {"points": [{"id": 2, "vector": [1, 2]}, {"id": 3, "vector": [1, 1e39]}]}, 400, "points[1].vector[1]"),
    ("PUT", "points", {"points": [{"id": 2, "vector": [1, 2]}] * 10_001}, 400, "points"),
    ("PUT", "points?ordering=strong", POINT, 501, "ordering"),
    ("PUT", "points?wait=yes", POINT, 400, "wait"),
    ("PUT", "points?timeout=0", POINT, 400, "timeout"),
    ("PUT", "points?waits=true", POINT, 400, "waits"),
    ("POST", "points/delete", {"filter": {}}, 400, "filter"),
    ("POST", "points/delete", {"filter": {"must": [{}], "should": {"must_not": []}}}, 400, "filter"),
    ("POST", "points/delete", {"points": [True]}, 400, "points[0]"),
    ("POST", "points/payload", {"points": [9], "payload": {"a": 2}, "key": "["}, 400, "key"),
    ("PUT", "points/payload", {"points": [9], "payload": {"a": 2}, "key": "a"}, 501, "key"),
    ("PUT", "points/vectors", {"points": []}, 501, "PUT points/vectors"),
    ("POST", "points/scroll", {"order_by": "a"}, 501, "order_by"),
    ("POST", "points/scroll", {"limit": 10_001}, 400, "limit"),
    ("POST", "points/scroll", {"offset": 1.5}, 400, "offset"),
    ("POST", "points/count", {"exact": "yes"}, 400, "exact"),
    ("POST", "points", {"ids": []}, 400, "ids"),
    ("POST", "points?consistency=quorum", {"ids": [1]}, 501, "consistency"),
    ("POST", "points/batch", {"operations": [{"update_vectors": {}}]}, 501, "operations[0].update_vectors"),
    ("POST", "facet", {"key": "a"}, 501, "POST facet"),
    ("POST", "points/search", QUERY, 501, "POST points/search"),
    ("PATCH", "", {}, 501, "PATCH"),
    ("PUT", "", {"vectors": {"size": 2, "distance": "Cosine"}}, 409, "already exists"),
    ("PUT", "", {"vectors": {"size": 2, "distance": "Dot"}, "metadata": 0}, 501, "metadata"),
    ("PUT", "index", {"field_name": "a", "field_schema": "geo"}, 501, "geo"),
    ("PUT", "index", {"field_name": "a..b", "field_schema": "keyword"}, 400, "field_name"),
    ("DELETE", "index/a..b", None, 400, "field_name"),
    ("GET", "points/1.0", None, 400, "id"),
    ("GET", "points/2", None, 404, "no point with id 2"),
    ("GET", "points/18446744073709551616", None, 400, "id"),
    ("GET", "points/%00", None, 400, "id"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "field"), REQUESTS)
def test_bad_request_is_refused_by_name(client: httpx.Client, method: str, path: str, body: object, status: int, field: str) -> None:
    address = f"/collections/things/{path}" if path else "/collections/things"
    refused(client.request(method, address, json=body), status, field)


@pytest.mark.parametrize("name", ["photos", "..", "things@ffffffff", "%ff%00", "x" * 5000, "a%0d%0ab", "%2e%2e%2fnames"])
def test_unknown_collection_is_404_whatever_its_name(client: httpx.Client, name: str) -> None:
    assert client.post(f"/collections/{name}/points/query", json=QUERY).status_code in (404, 501)
    assert client.put(f"/collections/{name}/points", json=POINT).status_code in (404, 501)


RAW = {
    "not JSON": (b"{", {}, 400, "body"),
    "empty": (b"", {}, 400, "body"),
    "a list": (b"[]", {}, 400, "body"),
    "deep": (b"[" * 100_000, {}, 400, "body"),
    "key twice": (b'{"query": [1, 2], "limit": 1, "limit": 2}', {}, 400, "'limit' comes twice"),
    "another charset": ('{"query": [1, 2]}'.encode("utf-16"), {"Content-Type": "application/json; charset=utf-16"}, 400, "body"),
    "NaN": (b'{"query": [NaN, 1]}', {}, 400, "body"),
    "1e999": (b'{"query": [1e999, 1]}', {}, 400, "body"),
    "lone surrogate": (b'{"query": {"text": "\\ud800", "model": "m"}}', {}, 400, "body"),
    "not UTF-8": (b'{"query": "\xff"}', {}, 400, "body"),
    "other type": (b"{}", {"Content-Type": "text/plain"}, 415, "Content-Type"),
    "compressed": (b"{}", {"Content-Encoding": "gzip"}, 415, "Content-Encoding"),
    "33 MiB": (b" " * (33 << 20), {}, 413, "body"),
}


@pytest.mark.parametrize("name", RAW)
def test_body_that_is_no_plain_json_is_refused(client: httpx.Client, name: str) -> None:
    content, headers, status, field = RAW[name]
    response = client.post("/collections/things/points/query", content=content, headers={"Content-Type": "application/json"} | headers)
    refused(response, status, field)


def test_body_without_an_announced_length_is_cut_off_when_it_is_too_long(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(33):
            yield b" " * (1 << 20)

    try:
        response = client.post("/collections/things/points/query", content=chunks(), headers={"Content-Type": "application/json"})
    except httpx.HTTPError:
        return  # the answer came, and the connection was closed, while the rest was on its way
    refused(response, 413, "body")


def test_body_that_does_not_come_is_given_up(client: httpx.Client) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as slow:
        head = b"POST /collections/things/points/query?timeout=0.2 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        slow.sendall(head + b"Content-Length: 100\r\n\r\n{")
        slow.settimeout(10)
        assert slow.recv(100).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "1e9", "x"])
def test_bad_timeout_is_refused(client: httpx.Client, timeout: str) -> None:
    refused(client.post(f"/collections/things/points/query?timeout={timeout}", json=QUERY), 400, "timeout")


def test_bad_idempotency_key_is_refused_and_a_key_used_for_other_rows_is_409(client: httpx.Client) -> None:
    def put(point: object, key: str) -> httpx.Response:
        return client.put("/collections/things/points?wait=true", json={"points": [point]}, headers={"Idempotency-Key": key})

    good = POINT["points"][0]
    for key in ("", "a" * 65, "a\tb"):
        refused(put(good, key), 400, "Idempotency-Key")
    first = put(good, "once").json()["result"]
    assert put(good, "once").json()["result"] == first
    refused(put({"id": 1, "vector": [5, 5]}, "once"), 409, "came before with other rows")


def test_a_value_is_never_repeated_in_full(client: httpx.Client) -> None:
    body = json.dumps({"points": [{"id": "x" * (1 << 20), "vector": [1, 2]}]})
    response = client.put("/collections/things/points", content=body, headers={"Content-Type": "application/json"})
    refused(response, 400, "points[0].id")
