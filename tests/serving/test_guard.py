"""Who may ask for inferences, how much, for how long, and what is told of it: keys, limits, deadlines, traces, counters, the access log."""

import re
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from fastapi.routing import APIRoute
from tritonclient.grpc import service_pb2

from reelspace.gateway.keys import new_key
from reelspace.gateway.operations import scope_of
from reelspace.serving.endpoint import Endpoint
from reelspace.serving.grpc_routes import v2_methods
from reelspace.serving.routes import v2_router
from reelspace.serving.upstream import Upstream

from ..triton.doubling import until
from .double import SLOW_S, Double
from .models import SIGNATURES
from .served import SERVICE, Served, X, serving, x_message

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
SLOW = {"inputs": [{**X, "data": [99, 1]}]}
SLOW_MESSAGE = x_message(struct.pack("<2f", 99, 1))
OUTSIDE = {None: 401, "": 401, "wrong": 401, "expired": 401, "write": 403, "admin": 403}
CODES = {401: grpc.StatusCode.UNAUTHENTICATED, 403: grpc.StatusCode.PERMISSION_DENIED}
MAX_RUNNING = 2


def key_lines() -> list[tuple[str, dict[str, Any]]]:
    past = datetime.now(UTC) - timedelta(seconds=1)
    made = [new_key(scope, [scope], ["*"]) for scope in ("read", "write", "admin")]
    made += [
        new_key("expired", ["read", "write", "admin"], ["*"], past),
        new_key("rate", ["read"], ["*"]),
        new_key("alone", ["read"], ["*"]),
    ]
    limits: dict[str, dict[str, Any]] = {"rate": {"requests_per_s": 0.1}, "alone": {"concurrent": 1}}
    return [(secret, key.model_dump(mode="json") | limits.get(key.name, {})) for secret, key in made]


@pytest.fixture(scope="module")
def guarded(double: Double, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    versions = {"doubling": 2, "text_encoder": 3}
    folder = tmp_path_factory.mktemp("guarded")
    with serving(folder, double.address, versions, key_lines(), v2={"max_running": MAX_RUNNING}) as gateway:
        yield gateway


def shown(served: Served, key: str | None) -> dict[str, str]:
    """Give the headers that show a key, by its name; a name that is none is the key itself."""
    return {} if key is None else {"api-key": served.secrets.get(key, key)}


def endpoint() -> Endpoint:
    return Endpoint(Upstream("http://127.0.0.1:9", 1.0), SIGNATURES)


def routes() -> list[tuple[str, str]]:
    """Give method and address of every route of the protocol that asks for a key."""
    parts = {"model": "doubling", "version": "2", "call:path": "repository/models/doubling/unload"}
    found = []
    for route in v2_router(endpoint()).routes:
        assert isinstance(route, APIRoute)
        if scope_of(route.endpoint) is not None:
            path = re.sub(r"\{([^}]*)\}", lambda one: parts[one[1]], route.path)
            found += [(method, path) for method in sorted(route.methods)]
    return found


def message_of(method: str) -> bytes:
    name = method.removeprefix(SERVICE)
    if name == "ModelInfer":
        return bytes(x_message().SerializeToString())
    kind = getattr(service_pb2, f"{name}Request")
    return bytes((kind(name="doubling") if name in ("ModelReady", "ModelMetadata", "ModelConfig") else kind()).SerializeToString())


def num_running(served: Served) -> float:
    return counted(served).get('reelspace_inferences_running{model="doubling"}', 0.0)


def test_every_route_refuses_every_key_that_may_not_and_lets_readers_in(guarded: Served, double: Double) -> None:
    came, tried = len(double.came), 0
    for method, path in routes():
        body = {"inputs": [X]} if path.endswith("infer") else None
        for key, status in OUTSIDE.items():
            answer = guarded.http.request(method, path, json=body, headers=shown(guarded, key))
            assert answer.status_code == status, (method, path, key)
            assert answer.json()["error"].startswith("api-key: ")
            assert answer.json()["field"] == "api-key"
            tried += 1
    assert tried >= 80
    assert len(double.came) == came, "nothing may have reached Triton"
    for method, path in routes():
        body = {"inputs": [X]} if path.endswith("infer") else None
        answer = guarded.http.request(method, path, json=body, headers=shown(guarded, "read"))
        assert answer.status_code == (403 if "repository" in path else 200), (method, path)


def test_every_method_refuses_every_key_that_may_not_and_lets_readers_in(guarded: Served, double: Double) -> None:
    came = len(double.came)
    methods = v2_methods(endpoint())
    assert len(methods) == 18
    for path, method in methods.items():
        open_to_all = scope_of(method) is None
        assert open_to_all == (path in (f"{SERVICE}ServerLive", f"{SERVICE}ServerReady"))
        for key, status in OUTSIDE.items() if not open_to_all else ():
            refused = guarded.call(path.removeprefix(SERVICE), message_of(path), metadata=list(shown(guarded, key).items()))
            assert isinstance(refused, grpc.RpcError)
            assert (refused.code(), refused.details()[:9]) == (CODES[status], "api-key: "), (path, key)
    assert len(double.came) == came, "nothing may have reached Triton"
    for path in methods:
        answer = guarded.call(path.removeprefix(SERVICE), message_of(path), metadata=list(shown(guarded, "read").items()))
        if isinstance(answer, grpc.RpcError):
            assert (answer.code(), "not for clients" in answer.details()) == (grpc.StatusCode.PERMISSION_DENIED, True), path


def test_a_keys_rate_and_its_requests_at_a_time_bound_both_faces(guarded: Served) -> None:
    rate, alone = shown(guarded, "rate"), shown(guarded, "alone")
    assert guarded.infer({"inputs": [X]}, **rate).status_code == 200
    again = guarded.infer({"inputs": [X]}, **rate)
    assert (again.status_code, int(again.headers["Retry-After"]) > 1) == (429, True)
    called = guarded.call("ModelInfer", x_message().SerializeToString(), metadata=list(rate.items()))
    assert isinstance(called, grpc.RpcError)
    assert called.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert int(dict(called.trailing_metadata())["retry-after"]) > 1
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(guarded.infer, SLOW, **alone)
        assert until(lambda: num_running(guarded) == 1, 5)
        assert guarded.infer({"inputs": [X]}, **alone).status_code == 429
        assert running.result().status_code == 200


def test_beyond_what_a_model_may_have_is_refused_at_once_over_both_faces_and_others_are_not(guarded: Served) -> None:
    reader = shown(guarded, "read")

    def timed(ask: Any, *args: Any, **more: Any) -> tuple[Any, float]:
        start_s = time.perf_counter()
        return ask(*args, **more), time.perf_counter() - start_s

    with ThreadPoolExecutor(8) as threads:
        running = [threads.submit(guarded.infer, SLOW, **reader) for _ in range(MAX_RUNNING)]
        assert until(lambda: num_running(guarded) == MAX_RUNNING, 5)
        refused, http_s = timed(guarded.infer, {"inputs": [X]}, **reader)
        called, grpc_s = timed(guarded.call, "ModelInfer", x_message().SerializeToString(), metadata=list(reader.items()))
        text = {"inputs": [{"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": ["a"]}]}
        assert guarded.infer(text, "text_encoder", **reader).status_code == 200
        assert num_running(guarded) == MAX_RUNNING
        assert [one.result().status_code for one in running] == [200] * MAX_RUNNING
    assert (refused.status_code, refused.headers["Retry-After"], refused.json()["field"]) == (429, "1", "model")
    assert (called.code(), dict(called.trailing_metadata())["retry-after"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "1")
    assert max(http_s, grpc_s) < SLOW_S / 2, "a refusal does not wait for room"
    assert guarded.infer({"inputs": [X]}, **reader).status_code == 200


def test_a_client_that_waits_for_less_is_told_when_its_time_is_over(guarded: Served) -> None:
    reader = shown(guarded, "read")
    start_s = time.perf_counter()
    late = guarded.infer(SLOW | {"parameters": {"timeout": 200_000}}, **reader)
    message = x_message(struct.pack("<2f", 99, 1))
    message.parameters["timeout"].int64_param = 200_000
    called = guarded.call("ModelInfer", message.SerializeToString(), metadata=list(reader.items()))
    assert time.perf_counter() - start_s < SLOW_S
    assert (late.status_code, late.json()) == (408, {"error": "timeout: the model did not answer within 0.2 s", "field": "timeout"})
    assert isinstance(called, grpc.RpcError)
    assert (called.code(), called.details()) == (grpc.StatusCode.DEADLINE_EXCEEDED, "timeout: the model did not answer within 0.2 s")
    assert guarded.infer({"inputs": [X], "parameters": {"timeout": 20_000_000}}, **reader).status_code == 200


def test_a_call_whose_deadline_is_over_makes_room_for_others(guarded: Served) -> None:
    reader = list(shown(guarded, "read").items())
    for _ in range(3 * MAX_RUNNING):
        called = guarded.call("ModelInfer", SLOW_MESSAGE.SerializeToString(), metadata=reader, timeout=0.05)
        assert isinstance(called, grpc.RpcError)
        assert called.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert isinstance(guarded.call("ModelInfer", x_message().SerializeToString(), metadata=reader), bytes)
    assert until(lambda: num_running(guarded) == 0, 5)


def test_the_trace_of_a_request_goes_on_to_triton_over_both_faces(guarded: Served, double: Double) -> None:
    reader = shown(guarded, "read")
    guarded.infer({"inputs": [X]}, traceparent=PARENT, **reader)
    guarded.call("ModelInfer", x_message().SerializeToString(), metadata=[*reader.items(), ("traceparent", PARENT)])
    guarded.infer({"inputs": [X]}, **reader)
    *traced, last = (came.headers.get("traceparent") for came in double.came[-3:])
    for sent in traced:
        found = re.fullmatch(f"00-{TRACE}-([0-9a-f]{{16}})-01", sent)
        assert found is not None
        assert found[1] not in PARENT
    assert last is None


def counted(served: Served) -> dict[str, float]:
    lines = served.http.get("/metrics").text.splitlines()
    pairs = (line.rpartition(" ") for line in lines if line.startswith("reelspace_inference"))
    return {name: float(value) for name, _, value in pairs}


def test_inferences_are_counted_by_model_version_and_outcome(guarded: Served) -> None:
    reader = shown(guarded, "read")
    before = counted(guarded)
    guarded.infer({"inputs": [X]}, **reader)
    guarded.call("ModelInfer", x_message().SerializeToString(), metadata=list(reader.items()))
    guarded.infer({"inputs": [{**X, "data": [1]}]}, **reader)
    guarded.infer({"inputs": [{**X, "data": [500, 1]}]}, **reader)
    guarded.infer({"inputs": [X]}, "doubling/versions/9", **reader)
    guarded.infer({"inputs": [X]}, "no-such-model", **reader)
    grown = {name: value - before.get(name, 0) for name, value in counted(guarded).items() if value != before.get(name, 0)}
    total = 'reelspace_inferences_total{{model="doubling",outcome="{}",version="2"}}'
    assert {name: value for name, value in grown.items() if "_total" in name} == {
        total.format("answered"): 2,
        total.format("refused"): 1,
        total.format("unavailable"): 1,
        total.format("not_served"): 1,
    }
    assert grown['reelspace_inference_seconds_count{model="doubling",version="2"}'] == 2
    assert not any("no-such-model" in name or '"9"' in name for name in counted(guarded))


def test_the_access_log_names_model_version_and_key_and_holds_no_payload(guarded: Served) -> None:
    reader = shown(guarded, "read")
    text = {"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": ["private-words"]}
    guarded.infer({"id": "private-id", "inputs": [text]}, "text_encoder", **reader, traceparent=PARENT, X_Request_Id="log-1")
    guarded.infer({"inputs": [{**text, "data": ["private\0words"]}]}, "text_encoder", **reader, X_Request_Id="log-2")
    metadata = [*reader.items(), ("x-request-id", "log-3")]
    guarded.call("ModelInfer", x_message(struct.pack("<2f", 8765.4375, 1)).SerializeToString(), metadata=metadata)

    def lines() -> list[dict[str, Any]]:
        return [line for line in guarded.lines() if line["request_id"].startswith("log-")]

    assert until(lambda: len(lines()) == 3, 5), "a line is written when its answer was sent"
    keys = ("method", "route", "code", "key", "model", "version", "trace_id")
    infer = "/v2/models/{model}/infer"
    assert [tuple(line[key] for key in keys) for line in lines()] == [
        ("POST", infer, "200", "read", "text_encoder", "3", TRACE),
        ("POST", infer, "400", "read", "text_encoder", "3", None),
        ("gRPC", f"{SERVICE}ModelInfer", "OK", "read", "doubling", "2", None),
    ]
    logged = guarded.log.read_text()
    for secret in ("private", "8765.4375", *guarded.secrets.values()):
        assert secret not in logged
