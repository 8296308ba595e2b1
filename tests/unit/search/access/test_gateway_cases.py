"""The 25 things that clients of a search gateway get wrong, by number, over HTTP and over gRPC.

What a face cannot say (protobuf has no 2.5 in the place of a whole number) is left out there; what takes more than one request to get
wrong has a test of its own, here or where ELSEWHERE says.
"""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from qdrant_client.grpc import points_pb2 as p

from reelspace.core.local_store import LocalStore

from .grpc_serving import Served, serving_both

TESTS = Path(__file__).resolve().parents[3]
NAME, GOOD = "things", [1.0, 2.0]
POINT = {"id": 1, "vector": GOOD, "payload": {"a": 1}}
NAN, INF = float("nan"), float("inf")
LONG_ID, NUL_ID = "x" * (1 << 20), "a\0b"


def query(**more: Any) -> bytes:
    return json.dumps({"query": GOOD} | more).encode()


def with_vector(text: str) -> bytes:
    return b'{"query": [1, ' + text.encode() + b"]}"


def where(condition: object) -> bytes:
    return query(filter={"must": [condition]})


def upsert(*points: object) -> bytes:
    return json.dumps({"points": points}).encode()


def nested(depth: int) -> Any:
    inside: Any = {"key": "a", "match": {"value": 1}}
    for _ in range(depth):
        inside = {"should": [inside]}
    return inside


BAD_SECOND = {"id": 3, "vector": [1, None]}
QUERY, BATCH, PUT, GET, DELETE = "POST points/query", "POST points/query/batch", "PUT points", "GET points", "POST points/delete"
OVER_HTTP: list[tuple[int, str, str, bytes, int, str]] = [
    (1, "NaN", QUERY, with_vector("NaN"), 400, "body"),
    (1, "Infinity", QUERY, with_vector("Infinity"), 400, "body"),
    (1, "null", QUERY, with_vector("null"), 400, "query[1]: expected a number"),
    (2, "1e999", QUERY, with_vector("1e999"), 400, "body"),
    (2, "1e39", QUERY, with_vector("1e39"), 400, "query[1]: expected a finite"),
    (3, "short", QUERY, b'{"query": [1]}', 400, "query: expected a vector of length 2, got 1"),
    (3, "long", QUERY, b'{"query": [1, 2, 3]}', 400, "query: expected a vector of length 2, got 3"),
    (3, "empty", QUERY, b'{"query": []}', 400, "query: expected a vector of length 2, got 0"),
    (4, "zero", QUERY, b'{"query": [0, 0]}', 400, "query: expected a vector that is not all zeros"),
    (5, "text", QUERY, with_vector('"1.0"'), 400, "query[1]: expected a number, got a string"),
    (5, "true", QUERY, with_vector("true"), 400, "query[1]: expected a number, got a boolean"),
    (5, "list", QUERY, with_vector("[1]"), 400, "query[1]: expected a number, got a list"),
    *((6, str(k), QUERY, query(limit=k), 400, "limit: expected") for k in (0, -1, 2.5, "10", 2**31, 2**63)),
    (8, "no queries", BATCH, b'{"searches": []}', 400, "searches: expected 1 to 512"),
    (8, "no points", PUT, upsert(), 400, "points: expected 1 to 10000"),
    (9, "queries", BATCH, json.dumps({"searches": [{"query": 1}] * 100_001}).encode(), 400, "searches: expected 1 to 512"),
    (9, "points", PUT, upsert(*[POINT] * 100_001), 400, "points: expected 1 to 10000"),
    (10, "query", BATCH, json.dumps({"searches": [{"query": GOOD}, {"query": [1]}]}).encode(), 400, "searches[1].query"),
    (10, "point", PUT, upsert({"id": 2, "vector": GOOD}, BAD_SECOND), 400, "points[1].vector[1]"),
    (11, "33 MB", QUERY, b" " * (33 << 20), 413, "body: expected at most"),
    (13, "depth", QUERY, b"[" * 100_000, 400, "body"),
    (13, "key twice", QUERY, b'{"query": 1, "query": 2}', 400, "'query' comes twice"),
    (14, "random", QUERY, b"\xff\xfe\x00", 400, "body: expected JSON"),
    (16, "deleted id", QUERY, b'{"query": 9}', 404, "no point with id 9"),
    (16, "id 2^63", QUERY, b'{"query": 9223372036854775808}', 404, "no point with id"),
    (16, "id 1.0", QUERY, b'{"query": 1.0}', 400, "query"),
    (16, "id NUL", PUT, upsert({"id": NUL_ID, "vector": GOOD}), 400, "points[0].id"),
    (16, "id 1 MB", PUT, upsert({"id": LONG_ID, "vector": GOOD}), 400, "points[0].id"),
    (17, "1,000 nested", QUERY, where(nested(330)), 400, "filters inside each other"),
    (17, "ReDoS", QUERY, where({"key": "a", "match": {"text": "(a+)+$"}}), 501, "match text"),
    (17, "65,537 values", QUERY, where({"key": "a", "match": {"any": list(range(65_537))}}), 400, "65536 values"),
    *((18, str(one), QUERY, query(params={"hnsw_ef": one}), 501, "params.hnsw_ef") for one in (0, 10**9)),
    *((19, one, f"{QUERY}?timeout={one}", query(), 400, "timeout: expected seconds") for one in ("0", "-1", "1000000000")),
    (23, "empty filter", DELETE, b'{"filter": {}}', 400, "filter: an empty filter"),
    (23, "filters only", DELETE, b'{"filter": {"must": [{"should": []}]}}', 400, "filter: an empty filter"),
    (23, "nothing", DELETE, b"{}", 400, "points: expected either"),
]


def asked(**more: Any) -> p.QueryPoints:
    message = p.QueryPoints(collection_name=more.pop("name", NAME), **more)
    if not message.HasField("query"):
        message.query.nearest.dense.data.extend(GOOD)
    return message


def nearest(*data: float, **more: Any) -> p.QueryPoints:
    return asked(query=p.Query(nearest=p.VectorInput(**(more or {"dense": {"data": data}}))))


def put(*points: tuple[dict[str, Any], list[float]]) -> p.UpsertPoints:
    made = [p.PointStruct(id=id, vectors=p.Vectors(vector=p.Vector(dense=p.DenseVector(data=vector)))) for id, vector in points]
    return p.UpsertPoints(collection_name=NAME, points=made)


def matched(**match: Any) -> p.QueryPoints:
    return asked(filter={"must": [{"field": {"key": "a", "match": match}}]})


def deep() -> bytes:
    """Write 1,000 filters inside each other; protobuf itself writes no more than 100."""
    inside = b""
    for _ in range(1000):
        condition = b"\x22" + varint(len(inside)) + inside
        inside = b"\x0a" + varint(len(condition)) + condition
    return asked().SerializeToString() + b"\x2a" + varint(len(inside)) + inside


def varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


WHOLE = asked().SerializeToString()
REFUSED, NOT_FOUND, UNSERVED, TOO_LARGE = "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED"
OVER_GRPC: list[tuple[int, str, str, Any, str, str]] = [
    *((1, str(one), "Query", nearest(1, one), REFUSED, "query[1]: expected a finite") for one in (NAN, INF, -INF)),
    (2, "3e38", "Query", nearest(1, 3e38), REFUSED, "query: expected a squared length"),
    (3, "short", "Query", nearest(1), REFUSED, "query: expected a vector of length 2, got 1"),
    (3, "long", "Query", nearest(1, 2, 3), REFUSED, "query: expected a vector of length 2, got 3"),
    (3, "empty", "Query", nearest(dense={}), REFUSED, "query: expected a vector of length 2, got 0"),
    (4, "zero", "Query", nearest(0, 0), REFUSED, "query: expected a vector that is not all zeros"),
    (5, "lists", "Query", nearest(multi_dense={"vectors": [{"data": GOOD}]}), UNSERVED, "query.multi_dense"),
    *((6, str(k), "Query", asked(limit=k), REFUSED, "limit: expected") for k in (0, 2**31, 2**63, 2**64 - 1)),
    (8, "no queries", "QueryBatch", p.QueryBatchPoints(collection_name=NAME), REFUSED, "searches: expected 1 to 512"),
    (8, "no points", "Upsert", put(), REFUSED, "points: expected 1 to 10000"),
    (9, "points", "Upsert", put(*[({"num": 1}, GOOD)] * 100_001), REFUSED, "points: expected 1 to 10000"),
    (10, "query", "QueryBatch", p.QueryBatchPoints(collection_name=NAME, query_points=[asked(), nearest(1)]), REFUSED, "searches[1].query"),
    (10, "point", "Upsert", put(({"num": 2}, GOOD), ({"num": 3}, [1, NAN])), REFUSED, "points[1].vector[1]"),
    (11, "33 MB", "Query", b"\0" * (33 << 20), TOO_LARGE, "message: expected at most"),
    (13, "depth", "Query", deep(), REFUSED, "message: expected a message"),
    (14, "cut", "Query", WHOLE[:-2], REFUSED, "message: expected a message"),
    (14, "random", "Query", b"\xff\xfe\xfd", REFUSED, "message: expected a message"),
    (14, "unknown field", "Query", WHOLE + b"\xa2\x06\x01x", REFUSED, "message: it has fields"),
    (14, "wire type", "Query", WHOLE + b"\x42\x01x", REFUSED, "message: it has fields"),
    (16, "collection", "Query", asked(name="none"), NOT_FOUND, "collection: Collection `none`"),
    (16, "deleted id", "Query", nearest(id={"num": 9}), NOT_FOUND, "no point with id 9"),
    (16, "id 2^63", "Query", nearest(id={"num": 2**63}), NOT_FOUND, "no point with id"),
    (16, "id NUL", "Upsert", put(({"uuid": NUL_ID}, GOOD)), REFUSED, "points[0].id"),
    (16, "id 1 MB", "Upsert", put(({"uuid": LONG_ID}, GOOD)), REFUSED, "points[0].id"),
    (17, "1,000 nested", "Query", deep(), REFUSED, "message: expected a message"),
    (17, "ReDoS", "Query", matched(text="(a+)+$"), UNSERVED, "match text"),
    (17, "65,537 values", "Query", matched(integers={"integers": range(65_537)}), REFUSED, "65536 values"),
    *((18, str(one), "Query", asked(params={"hnsw_ef": one}), UNSERVED, "params.hnsw_ef") for one in (0, 10**9)),
    *((19, str(one), "Query", asked(timeout=one), REFUSED, "timeout: expected seconds") for one in (0, 10**9, 2**64 - 1)),
    (22, "../", "Query", asked(name="../things"), NOT_FOUND, "collection"),
    (23, "empty filter", "Delete", p.DeletePoints(collection_name=NAME, points={"filter": {}}), REFUSED, "filter: an empty filter"),
    (23, "nothing", "Delete", p.DeletePoints(collection_name=NAME), REFUSED, "points: expected either"),
]
HERE = {7, 15, 16, 17, 20}
"""Numbers with a test of their own below, over both faces."""
ELSEWHERE = {
    11: ["unit/search/access/test_bad_requests.py::test_body_without_an_announced_length_is_cut_off_when_it_is_too_long"],
    12: [
        "unit/gateway/test_http1.py::test_a_head_that_comes_byte_by_byte_is_given_up",
        "unit/gateway/test_http2.py::test_client_that_is_slow_to_greet_is_left",
    ],
    15: ["unit/gateway/test_grpc_server.py::test_message_that_is_small_packed_and_large_unpacked_is_refused"],
    21: [
        "unit/gateway/test_keys.py::test_no_route_answers_without_a_valid_key_and_all_refusals_look_the_same",
        "unit/gateway/test_keys.py::test_no_method_answers_without_a_valid_key",
        "unit/gateway/test_keys.py::test_routes_want_their_scope_and_a_key_of_the_collection",
        "unit/gateway/test_keys.py::test_methods_want_their_scope_and_a_key_of_the_collection",
    ],
    22: [
        "unit/gateway/test_http1.py::test_a_head_of_64_kb_is_refused",
        "unit/gateway/test_http2.py::test_broken_protocol_is_answered_with_the_code_of_the_rfc",
        "unit/gateway/test_traces.py::test_an_id_that_could_harm_logs_is_replaced",
    ],
    24: [
        "unit/search/test_rebuild.py::test_a_builder_that_was_overtaken_loses_no_row_that_was_dropped_from_the_log_meanwhile",
        "unit/search/test_promote.py::test_next_promotion_keeps_what_served_loaded_and_an_older_one_can_come_back",
    ],
    25: [
        "unit/gateway/test_http2.py::test_floods_end_the_connection",
        "unit/gateway/test_http2.py::test_connections_above_the_limit_are_closed",
        "unit/gateway/test_http1.py::test_idle_connections_keep_nobody_out_and_end_no_request",
        "unit/gateway/test_grpc_server.py::test_deadline_of_the_client_reaches_the_method_and_cancels_it",
    ],
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving_both(LocalStore(tmp_path_factory.mktemp("store"))) as served:
        url = f"{served.url}/collections/{NAME}"
        assert httpx.put(url, json={"vectors": {"size": 2, "distance": "Cosine"}}).status_code == 200
        assert httpx.put(f"{url}/points?wait=true", json={"points": [POINT, POINT | {"id": 9}]}).status_code == 200
        assert httpx.post(f"{url}/points/delete?wait=true", json={"points": [9]}).status_code == 200
        yield served


@pytest.fixture(autouse=True)
def unharmed(served: Served) -> Iterator[None]:
    """Whatever a test sent, the one point is there, and nothing else."""
    yield
    points = httpx.post(f"{served.url}/collections/{NAME}/points/scroll", json={}).json()["result"]["points"]
    assert points == [{"id": 1, "payload": {"a": 1}}]


def ask(served: Served, what: str, body: bytes, **headers: str) -> httpx.Response:
    method, _, path = what.partition(" ")
    sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.request(method, f"{served.url}/collections/{NAME}/{path}", content=body, headers=sent, timeout=30)


def call(served: Served, method: str, message: Any) -> bytes:
    data = message if isinstance(message, bytes) else message.SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{served.port}", [("grpc.max_send_message_length", -1)]) as channel:
        answer: bytes = channel.unary_unary(f"/qdrant.Points/{method}")(data, timeout=30)
        return answer


def ids(cases: list[tuple[Any, ...]]) -> list[str]:
    return [f"{case[0]:02}-{case[1]}" for case in cases]


@pytest.mark.parametrize(("number", "name", "what", "body", "status", "text"), OVER_HTTP, ids=ids(OVER_HTTP))
def test_case_over_http(served: Served, number: int, name: str, what: str, body: bytes, status: int, text: str) -> None:
    response = ask(served, what, body)
    assert response.status_code == status, response.text
    error = response.json()["status"]["error"]
    assert text in error
    assert "\n" not in error
    assert len(error) < 500


@pytest.mark.parametrize(("number", "name", "method", "message", "code", "text"), OVER_GRPC, ids=ids(OVER_GRPC))
def test_case_over_grpc(served: Served, number: int, name: str, method: str, message: Any, code: str, text: str) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        call(served, method, message)
    assert failed.value.code().name == code, failed.value.details()
    assert text in failed.value.details()
    assert len(failed.value.details()) < 500


def test_every_case_has_a_test_over_both_faces_and_those_elsewhere_are_there() -> None:
    named = HERE | ELSEWHERE.keys()
    for cases in (OVER_HTTP, OVER_GRPC):
        assert {case[0] for case in cases} | named == set(range(1, 26))
    for place in (one for places in ELSEWHERE.values() for one in places):
        path, _, name = place.partition("::")
        assert f"def {name}(" in (TESTS / path).read_text(), place


def test_case_07_more_hits_than_rows_gives_what_there_is(served: Served) -> None:
    [hit] = ask(served, QUERY, query(limit=2048)).json()["result"]["points"]
    [same] = p.QueryResponse.FromString(call(served, "Query", asked(limit=2048))).result
    assert hit["id"] == same.id.num == 1


def test_case_11_a_body_that_comes_for_ever_is_given_up(served: Served) -> None:
    port = int(served.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as client:
        head = f"POST /collections/{NAME}/points/query?timeout=0.2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.sendall(head.encode())
        client.settimeout(0.02)
        for _ in range(200):
            client.sendall(b"1\r\n \r\n")
            try:
                assert client.recv(100).startswith(b"HTTP/1.1 408")
            except TimeoutError:
                continue
            return
    pytest.fail("it was read for ever")


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content_Type": "text/plain"}, query(), 415),
        ({"Content_Encoding": "gzip"}, b"\x1f\x8b" + b"\0" * 1000, 415),
        ({"Content_Type": "application/json; charset=utf-16"}, query().decode().encode("utf-16"), 400),
    ],
)
def test_case_15_what_is_no_plain_json_is_refused(served: Served, headers: dict[str, str], body: bytes, status: int) -> None:
    assert ask(served, QUERY, body, **headers).status_code == status


def test_case_16_an_unknown_collection_is_not_found(served: Served) -> None:
    assert httpx.post(f"{served.url}/collections/none/points/query", content=query()).status_code == 404


def test_case_17_a_filter_on_a_key_that_nothing_has_finds_nothing(served: Served) -> None:
    assert ask(served, QUERY, where({"key": "none", "match": {"value": 1}})).json()["result"]["points"] == []
    unknown = asked(filter={"must": [{"field": {"key": "none", "match": {"integer": 1}}}]})
    assert not p.QueryResponse.FromString(call(served, "Query", unknown)).result


@pytest.mark.parametrize("name", ["..", "%2e%2e%2fthings", "..%5cthings", "a%0d%0aSet-Cookie:x", "x" * 5000])
def test_case_22_no_name_leads_out_of_the_collections(served: Served, name: str) -> None:
    response = httpx.post(f"{served.url}/collections/{name}/points/query", content=query())
    assert response.status_code in (404, 501)
    assert "Set-Cookie" not in response.headers


def test_case_20_of_points_with_one_id_in_a_request_the_last_counts(served: Served) -> None:
    other = {"id": 1, "vector": [7, 7], "payload": {"a": 2}}
    assert ask(served, f"{PUT}?wait=true", upsert(other, POINT)).status_code == 200
    before = ask(served, GET + "/1", b"").json()["result"]["vector"]
    message = put(({"num": 1}, [7, 7]), ({"num": 1}, GOOD))
    message.points[1].payload["a"].integer_value = 1
    message.wait = True
    call(served, "Upsert", message)
    assert ask(served, GET + "/1", b"").json()["result"] == {"id": 1, "payload": {"a": 1}, "vector": before}
