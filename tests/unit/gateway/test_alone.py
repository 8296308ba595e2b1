"""A request that comes alone is answered on the spot, by the connection and by the dialect; every other one as ever."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import h2.errors
import pytest
from qdrant_client.grpc import points_pb2 as p

from reelspace.core.errors import InternalError
from reelspace.core.local_store import LocalStore
from reelspace.gateway.grpc_application import GrpcApplication
from reelspace.gateway.http2.application import Answer
from reelspace.gateway.http2.connection import Load
from reelspace.search.access.current_request import current_request
from reelspace.search.access.messages.methods import dialect_methods, dialect_methods_now

from ..search.access.worlds import TIME_S, made, points, running, write
from ..search.oracle_shard import OracleBackend
from .http2_client import OK, TAIL, Client, Echo, forever, run

QUERY = "/qdrant.Points/Query"
HEAD = [(":method", "POST"), (":path", QUERY), ("content-type", "application/grpc")]


class Quick(Echo):
    """Answers on the spot with the body and a mark, but for what says that it takes more."""

    def __init__(self, gate: Callable[[str], Awaitable[None]] | None = None) -> None:
        super().__init__(gate)
        self.asked_now: list[bytes] = []

    def answer_now(self, head: str, body: bytes, came_s: float) -> Answer | None:
        self.asked_now.append(body)
        if body == b"bug":
            raise KeyError("a bug")
        return None if body == b"more" else Answer(OK, b"now " + body, TAIL)


def test_a_lone_request_is_answered_before_the_loop_turns() -> None:
    async def test() -> None:
        client = Client(Quick())
        for body in (b"one", b"two"):
            await asyncio.sleep(0)
            stream = client.request(body)
            client.exchange()
            assert client.bodies[stream] == b"now " + body
            assert client.ended(stream)
        assert (client.load.num_streams, client.load.held_bytes) == (0, 0)

    run(test)


def test_what_takes_more_is_answered_by_a_task_and_a_bug_ends_only_its_own_request() -> None:
    async def test() -> None:
        application = Quick()
        client = Client(application)
        more, bug = client.request(b"more"), None
        client.exchange()
        assert more not in client.bodies
        await client.settle()
        assert client.bodies[more] == b"more"
        bug = client.request(b"bug")
        client.exchange()
        assert client.status(bug) == "500"
        await asyncio.sleep(0)
        last = client.request(b"last")
        client.exchange()
        assert client.bodies[last] == b"now last"
        assert application.begun == ["/echo"]

    run(test)


def test_requests_that_come_together_go_together() -> None:
    async def test() -> None:
        application = Quick()
        client = Client(application)
        streams = [client.request(b"%d" % number) for number in range(3)]
        await client.settle()
        assert [client.bodies[stream] for stream in streams] == [b"0", b"1", b"2"]
        assert application.asked_now == []
        assert client.load.num_streams == 0

    run(test)


def test_requests_of_several_connections_in_one_turn_go_together_but_for_the_first() -> None:
    async def test() -> None:
        application, load = Quick(), Load()
        clients = [Client(application, load=load) for _ in range(2)]
        first, second = (client.request(b"%d" % number) for number, client in enumerate(clients))
        for client in clients:
            client.exchange()
        assert clients[0].bodies[first] == b"now 0"
        assert second not in clients[1].bodies
        await clients[1].settle()
        assert clients[1].bodies[second] == b"1"
        assert application.asked_now == [b"0"]

    run(test)


def test_no_request_overtakes_one_that_waits_on_any_connection() -> None:
    async def test() -> None:
        application, load = Quick(forever), Load()
        first, second = Client(application, load=load), Client(application, load=load)
        waiting = first.request(b"more")
        await first.settle()
        second.request(b"late")
        second.exchange()
        assert application.asked_now == [b"more"]
        first.h2.reset_stream(waiting, h2.errors.ErrorCodes.CANCEL)
        first.exchange()
        second.server.connection_lost(None)
        assert load.num_streams == 0
        stream = first.request(b"alone")
        first.exchange()
        assert first.bodies[stream] == b"now alone"

    run(test)


def query(**fields: Any) -> bytes:
    nearest = fields.pop("nearest", {"dense": {"data": [3.2, 0.0]}})
    return p.QueryPoints(collection_name=fields.pop("name", "things"), query={"nearest": nearest}, **fields).SerializeToString()


class Counted:
    """An application of gRPC over a catalog, and what it counted."""

    def __init__(self, catalog: Any) -> None:
        self.calls: list[tuple[str, str]] = []
        counted = lambda path, code, _: self.calls.append((path, code))  # noqa: E731
        tables = dialect_methods(lambda: catalog), dialect_methods_now(lambda: catalog)
        self.application = GrpcApplication(tables[0], 1 << 20, counted, tables[1])
        self.head = self.application.read_head(HEAD)

    def now(self, message: bytes) -> Any:
        answer = self.application.answer_now(self.head, framed(message), asyncio.get_running_loop().time())
        return None if answer is None else p.QueryResponse.FromString(answer.body[5:])

    async def later(self, message: bytes) -> Any:
        answer = await self.application.answer(self.head, framed(message), asyncio.get_running_loop().time())
        return p.QueryResponse.FromString(answer.body[5:]) if answer.body else answer.head


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def over_quick_shards(test: Callable[..., Awaitable[None]]) -> Callable[[Path], None]:
    """Run a test with the application over a filled collection of two shards that answer on the spot."""

    @functools.wraps(test)
    def wrapped(tmp_path: Path) -> None:
        async def run() -> None:
            store = LocalStore(tmp_path)
            backend = OracleBackend(store)
            async with running(store, backend) as catalog:
                service = await made(catalog)
                await service.write(write(service, points(*range(20), color="red"), points(20, 21, color="blue")), TIME_S)
                shards = backend.shards[service.collection.full_name]
                for shard in shards:
                    shard.is_quick = True
                await test(Counted(catalog), shards)

        asyncio.run(run())

    del wrapped.__wrapped__  # type: ignore[attr-defined] # pytest would take the test's own arguments for fixtures
    return wrapped


@over_quick_shards
async def test_an_answer_on_the_spot_is_the_answer(counted: Counted, shards: Any) -> None:
    blue = {"must": [{"field": {"key": "color", "match": {"keyword": "blue"}}}]}
    for fields in (
        {},
        {"limit": 3, "offset": 1},
        {"filter": blue, "with_payload": {"enable": True}},
        {"score_threshold": 1.5, "with_vectors": {"enable": True}},
    ):
        now, later = counted.now(query(**fields)), await counted.later(query(**fields))
        for hit in (*now.result, *later.result):
            hit.ClearField("version")  # known once the shards were asked what they hold, between the first answer and the others
        assert list(now.result) == list(later.result)
        assert len(now.result) >= 2
    assert set(counted.calls) == {(QUERY, "OK")}
    assert len(counted.calls) == 8


@over_quick_shards
async def test_what_cannot_be_answered_on_the_spot_is_left_to_the_usual_way_and_counted_there(counted: Counted, shards: Any) -> None:
    for message in (query(nearest={"id": {"num": 3}}), query(name="none"), query(limit=5000), query(timeout=0), b"\xff"):
        assert counted.now(message) is None
    shards[1].is_quick = False
    assert counted.now(query()) is None
    shards[1].is_quick = True
    shards[1].error = InternalError("broken")
    assert counted.now(query()) is None
    assert counted.calls == []
    assert b"grpc-message" in await counted.later(query())
    assert [code for _, code in counted.calls] == ["INTERNAL"]
    shards[1].error = None
    assert counted.now(query()) is not None


@over_quick_shards
async def test_no_query_overtakes_those_that_wait(counted: Counted, shards: Any) -> None:
    for shard in shards:
        shard.is_quick = False
        shard.pause_s = 0.05
    first = asyncio.ensure_future(counted.later(query()))
    await asyncio.sleep(0.01)
    for shard in shards:
        shard.is_quick = True
    assert counted.now(query()) is None
    assert len((await first).result) == 10
    assert counted.now(query()) is not None


def test_a_call_that_is_out_of_time_is_not_answered_on_the_spot() -> None:
    async def test() -> None:
        application = GrpcApplication({QUERY: pytest.fail}, 1 << 20, lambda *_: None, {QUERY: lambda data, call: data})  # type: ignore[dict-item]
        head = application.read_head([*HEAD, ("grpc-timeout", "50m")])
        now_s = asyncio.get_running_loop().time()
        assert application.answer_now(head, framed(b"x"), now_s - 1) is None
        found = application.answer_now(head, framed(b"x"), now_s)
        assert found is not None
        assert found.body == framed(b"x")
        assert current_request() is None
        assert application.answer_now(application.read_head([*HEAD[:2]]), framed(b"x"), now_s) is None

    run(test)
