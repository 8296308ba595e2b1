"""What clients get wrong, over HTTP: refused by field before any shard sees it."""

import json

import httpx
import pytest

from .conftest import DIMENSION, Running

GOOD = [0.5] * DIMENSION


def vector_with(component: str) -> str:
    return '{"query": [' + ", ".join(["0.5"] * (DIMENSION - 1) + [component]) + "]}"


REFUSED = {
    "NaN": (vector_with("NaN"), "body"),
    "infinity": (vector_with("Infinity"), "body"),
    "null component": (vector_with("null"), "query[127]"),
    "overflow of float64": (vector_with("1e999"), "body"),
    "overflow of float32": (vector_with("1e39"), "query[127]"),
    "huge integer": (vector_with("1" + "0" * 400), ""),
    "string component": (vector_with('"1.0"'), "query[127]"),
    "boolean component": (vector_with("true"), "query[127]"),
    "nested list": (vector_with("[1]"), "query[127]"),
    "zero vector": (json.dumps({"query": [0] * DIMENSION}), "query"),
    "too short": (json.dumps({"query": GOOD[1:]}), "query"),
    "too long": (json.dumps({"query": [*GOOD, 1]}), "query"),
    "empty vector": (json.dumps({"query": []}), "query"),
    "no query": (json.dumps({"limit": 3}), "query"),
    "limit 0": (json.dumps({"query": GOOD, "limit": 0}), "limit"),
    "limit -1": (json.dumps({"query": GOOD, "limit": -1}), "limit"),
    "limit 2.5": (json.dumps({"query": GOOD, "limit": 2.5}), "limit"),
    "limit text": (json.dumps({"query": GOOD, "limit": "10"}), "limit"),
    "limit true": (json.dumps({"query": GOOD, "limit": True}), "limit"),
    "limit 2049": (json.dumps({"query": GOOD, "limit": 2049}), "limit"),
    "limit 2^63": (json.dumps({"query": GOOD, "limit": 2**63}), "limit"),
    "misspelt key": (json.dumps({"query": GOOD, "limt": 3}), "limit"),
    "id negative": (json.dumps({"query": -1}), "query"),
    "id 2^64": (json.dumps({"query": 2**64}), "query"),
    "id that is no UUID": (json.dumps({"query": "cat"}), "query"),
    "id 1.0": (json.dumps({"query": 1.0}), "query"),
    "other text model": (json.dumps({"query": {"text": "x", "model": "bert"}}), "query.model"),
    "no text model": (json.dumps({"query": {"text": "x"}}), "query.model"),
    "empty text": (json.dumps({"query": {"text": " ", "model": "text_encoder"}}), "query.text"),
    "invisible text": (json.dumps({"query": {"text": "\u200b\u200b", "model": "text_encoder"}}), "query.text"),
    "long text": (json.dumps({"query": {"text": "x" * 20_000, "model": "text_encoder"}}), "query.text"),
    "lone surrogate": ('{"query": {"text": "\\ud800", "model": "text_encoder"}}', "body"),
    "filter is a list": (json.dumps({"query": GOOD, "filter": []}), "filter"),
    "excluded text": (json.dumps({"query": GOOD, "filter": {"must_not": [{"has_id": ["a"]}]}}), "filter.must_not[0].has_id[0]"),
    "too many excluded": (json.dumps({"query": GOOD, "filter": {"must_not": [{"has_id": list(range(65_537))}]}}), "filter.must_not"),
    "condition without a test": (json.dumps({"query": GOOD, "filter": {"must": [{"key": "kind"}]}}), "filter.must[0]"),
    "unknown vector name": (json.dumps({"query": GOOD, "using": "sound"}), "using"),
    "offset beyond": (json.dumps({"query": GOOD, "offset": 2040}), "offset"),
    "not JSON": ("{", "body"),
    "deep JSON": ("[" * 100_000, "body"),
    "a list": ("[]", "body"),
    "empty body": ("", "body"),
}

UNSERVED = {
    "match text": ({"query": GOOD, "filter": {"must": [{"key": "kind", "match": {"text": "video"}}]}}, "match text"),
    "geo": ({"query": GOOD, "filter": {"must": [{"key": "place", "geo_radius": {}}]}}, "geo_radius"),
    "best_score": ({"query": {"recommend": {"positive": [1], "strategy": "best_score"}}}, "best_score"),
    "prefetch": ({"prefetch": [{"query": GOOD}], "query": {"fusion": "rrf"}}, "prefetch"),
    "params": ({"query": GOOD, "params": {"exact": True}}, "params.exact"),
    "sparse": ({"query": {"indices": [1], "values": [0.5]}}, "query.indices"),
}


def post(running: Running, body: str, path: str = "videos/points/query", **headers: str) -> httpx.Response:
    sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{running.url}/collections/{path}", content=body.encode("utf-8", "surrogatepass"), headers=sent, timeout=30)


def error_of(response: httpx.Response) -> str:
    return str(response.json()["status"]["error"])


@pytest.mark.parametrize("name", REFUSED)
def test_bad_request_is_refused_naming_the_field(running: Running, name: str) -> None:
    body, field = REFUSED[name]
    response = post(running, body)
    assert response.status_code == 400, response.text
    assert field in error_of(response)


@pytest.mark.parametrize("name", UNSERVED)
def test_feature_that_is_not_served_answers_501_by_name(running: Running, name: str) -> None:
    body, feature = UNSERVED[name]
    response = post(running, json.dumps(body))
    assert response.status_code == 501
    assert feature in error_of(response)


def test_one_bad_query_in_a_batch_is_named(running: Running) -> None:
    searches = [{"query": GOOD}, {"query": GOOD, "limit": 0}, {"query": GOOD}]
    response = post(running, json.dumps({"searches": searches}), "videos/points/query/batch")
    assert response.status_code == 400
    assert error_of(response).startswith("searches[1].limit:")


@pytest.mark.parametrize("count", [0, 513])
def test_batch_of_a_wrong_size_is_refused(running: Running, count: int) -> None:
    response = post(running, json.dumps({"searches": [{"query": 1}] * count}), "videos/points/query/batch")
    assert response.status_code == 400
    assert "searches" in error_of(response)


def test_unknown_point_in_a_batch_is_named(running: Running) -> None:
    response = post(running, json.dumps({"searches": [{"query": GOOD}, {"query": 3}]}), "videos/points/query/batch")
    assert response.status_code == 404
    assert error_of(response).startswith("searches[1].query: no point with id 3")


@pytest.mark.parametrize("collection", ["photos", "..", "videos@ffffffff", "%ff%00", "x" * 5000])
def test_unknown_collection_is_404(running: Running, collection: str) -> None:
    response = post(running, json.dumps({"query": GOOD}), f"{collection}/points/query")
    assert response.status_code == 404


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "videos/points/vectors"), ("DELETE", "videos"), ("POST", "videos/facet"), ("PATCH", "videos")]
)
def test_operation_that_is_not_served_answers_501(running: Running, method: str, path: str) -> None:
    response = httpx.request(method, f"{running.url}/collections/{path}", json={})
    assert response.status_code == 501
    assert method in error_of(response)


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "1e9", "x"])
def test_bad_timeout_is_refused(running: Running, timeout: str) -> None:
    response = post(running, json.dumps({"query": GOOD}), f"videos/points/query?timeout={timeout}")
    assert response.status_code == 400
    assert error_of(response).startswith("timeout:")


def test_body_that_is_no_plain_json_is_refused(running: Running) -> None:
    assert post(running, "{}", Content_Type="text/plain").status_code == 415
    assert post(running, "{}", Content_Encoding="gzip").status_code == 415
    assert post(running, " " * (33 << 20)).status_code == 413


def test_good_query_is_answered_after_all_that(running: Running) -> None:
    assert post(running, json.dumps({"query": GOOD})).status_code == 200
