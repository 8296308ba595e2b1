"""Ids and traces of requests: what comes back to the client, what goes on to Triton, and what the access log holds."""

import asyncio
import json
import re
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelspace.core.local_store import LocalStore
from reelspace.gateway.request_start import request_of
from reelspace.search.access.current_request import CurrentRequest, begin, trace_headers
from reelspace.search.access.fanout import Fanout, FanoutSettings
from reelspace.search.access.triton_servers import TritonServers
from reelspace.search.access.triton_shard import ShardServers, TritonShard
from reelspace.search.compute.queries import ShardAnswer, ShardQuery
from reelspace.search.storage.layout import Collection, VectorSettings
from reelspace.serving.upstream import Upstream

from ..search.oracle_shard import OracleShard
from .guarded import VECTORS, KeysFile, guarded

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (PARENT, True),
        (PARENT.replace("00-", "01-", 1) + "-more", True),
        (PARENT.replace("00-", "ff-", 1), False),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (PARENT.upper(), False),
        ("", False),
    ],
)
def test_a_trace_goes_on_under_a_span_of_our_own(sent: str, kept: bool) -> None:
    given = request_of({"traceparent": sent}.get).traceparent
    if not kept:
        assert given is None
        return
    assert given is not None
    found = re.fullmatch(f"00-{TRACE}-([0-9a-f]{{16}})-01", given)
    assert found is not None
    assert found[1] != "b7ad6b7169203331"


@pytest.mark.parametrize("sent", ["", "a b", "x" * 65, "a\r\nSet-Cookie: b", "ä"])
def test_an_id_that_could_harm_logs_is_replaced(sent: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", request_of({"x-request-id": sent}.get).id)
    assert request_of({"x-request-id": "Job-7_a.b"}.get).id == "Job-7_a.b"


class Triton:
    """Keeps the headers that came with calls, and fails."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str] | None] = []

    async def infer(self, *args: Any, headers: dict[str, str] | None = None, **more: Any) -> Any:
        self.headers.append(headers)
        raise ConnectionError


class Servers(TritonServers):
    def clients(self, addresses: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(addresses)


def test_calls_to_triton_carry_the_trace_they_are_made_for() -> None:
    triton = Triton()
    shard = TritonShard(ShardServers(Servers([], lambda _address, _event: None), (triton,), "shard"))  # type: ignore[arg-type]

    async def ask(request: CurrentRequest) -> None:
        begin(request)
        with pytest.raises(ConnectionError):
            await shard.search([ShardQuery(np.ones(2, np.float32), 1)], 1.0)

    for request in (CurrentRequest("a", PARENT), CurrentRequest("b")):
        asyncio.run(ask(request))
    assert triton.headers == [{"traceparent": PARENT}, None]


def test_requests_of_encoders_carry_the_trace_they_are_sent_for() -> None:
    came: list[str | None] = []

    class Encoders(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            came.append(self.headers["traceparent"])
            self.send_error(404)

        def log_message(self, *_: object) -> None: ...

    async def ask(url: str) -> None:
        async with Upstream(url, 5.0, trace=trace_headers) as upstream:
            for trace in (PARENT, None):
                begin(CurrentRequest("x", trace))
                assert await upstream.versions("text_encoder") == []

    with HTTPServer(("127.0.0.1", 0), Encoders) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asyncio.run(ask(f"http://127.0.0.1:{server.server_port}"))
        server.shutdown()
    assert came == [PARENT, None]


class Traced(OracleShard):
    """Keeps the trace of each batch."""

    async def search(self, queries: Sequence[ShardQuery], timeout_s: float) -> ShardAnswer:
        self.traces = [*getattr(self, "traces", []), (len(queries), trace_headers())]
        return await super().search(queries, timeout_s)


def test_a_batch_belongs_to_the_first_trace_in_it_and_to_none_when_no_query_has_one() -> None:
    collection = Collection(name="x", space_id="0" * 16, vectors={"": VectorSettings(dimension=2)}, num_shards=1)
    shard = Traced(LocalStore(Path("unused")), collection, 0)
    shard.pause_s = 0.01

    async def one(fanout: Fanout, trace: str | None) -> None:
        begin(CurrentRequest("x", trace))
        await fanout.search(ShardQuery(np.ones(2, np.float32), 1), 5.0)

    async def ask() -> None:
        fanout = Fanout([shard], FanoutSettings(max_batch=3, max_in_flight=1))
        await asyncio.gather(*(one(fanout, trace) for trace in (None, PARENT, None, None, None, None)))

    asyncio.run(ask())
    assert shard.traces == [(3, {"traceparent": PARENT}), (3, None)]


def test_ids_come_back_with_every_answer_and_the_access_log_has_no_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = KeysFile(tmp_path / "keys.json")
    keys.add("mine")
    with guarded(tmp_path, keys, access_log=True) as gateway:
        gateway.ask("mine", "PUT", "/collections/secret-name", VECTORS, traceparent=PARENT)
        points = {"points": [{"id": 1, "vector": [0.625, 2], "payload": {"word": "private"}}]}
        wrote = gateway.ask("mine", "PUT", "/collections/secret-name/points", points, **{"X-Request-Id": "Job-7"})
        failed = gateway.ask("mine", "POST", "/collections/secret-name/points/query", {"query": [0.625]})
        denied = gateway.ask("none", "GET", "/collections")
        call = gateway.call("mine", "/qdrant.Collections/List", **{"x-request-id": "Job-8"})
        bad = gateway.call("mine", "/qdrant.Points/Query", b"\x0a\x04gone")
        logged = capsys.readouterr().err
    assert wrote.headers["X-Request-Id"] == "Job-7"
    for answer in (failed, denied):
        assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    assert dict(call.initial_metadata())["x-request-id"] == "Job-8"
    id = dict(bad.trailing_metadata())["x-request-id"]
    lines = [json.loads(line) for line in logged.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["request_id"] for line in requests[1:]] == [
        *("Job-7", failed.headers["X-Request-Id"], denied.headers["X-Request-Id"], "Job-8", id)
    ]
    assert requests[0]["trace_id"] == TRACE
    assert [(line["method"], line["code"], line["key"], line["refusal"]) for line in requests[1:]] == [
        ("PUT", "200", "mine", None),
        ("POST", "400", "mine", None),
        ("GET", "401", None, "unauthenticated"),
        ("gRPC", "OK", "mine", None),
        ("gRPC", "NOT_FOUND", "mine", None),
    ]
    for secret in ("0.625", "private", "secret-name", keys.secrets["mine"]):
        assert secret not in logged
