"""Kept connections to a server that does what it wants: who asked gets the answer to what was asked, or an error, and nothing of others."""

import asyncio
import random
import socket
import threading
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop

from reelspace.core.errors import ServerUnavailable, SettingError
from reelspace.serving import connection
from reelspace.serving.connection import MAX_IDLE, PIECE_BYTES, ConnectionEnded, Connections, Reply
from reelspace.serving.upstream import Upstream

LARGE = 64 << 20
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nInference-Header-Content-Length: 3\r\n\r\nhello"
FORMS = {
    "length": HELLO,
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\ninference-header-content-length: 3\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\n\r\n"
    ),
    "after a promise": b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO,
}
Run = Callable[[Coroutine[Any, Any, None]], None]


@dataclass
class Came:
    """A request as the server read it, and the number of the connection that it came over."""

    connection: int
    line: str
    headers: dict[str, str]
    body: bytes


Answering = Callable[[Came, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Served:
    """Where a server listens, and what came."""

    url: str = ""
    num_connections: int = 0
    came: list[Came] = field(default_factory=list)

    def over(self) -> list[int]:
        return [one.connection for one in self.came]


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run on the gateway's event loop, and on Python's own."""

    def one(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(main, 30))

    return one


@asynccontextmanager
async def serving(answer: Answering) -> AsyncIterator[Served]:
    served = Served()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.num_connections += 1
        number = served.num_connections
        try:
            while not writer.is_closing():
                served.came.append(await read_request(reader, number))
                await answer(served.came[-1], writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=512)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield served
    server.close()


async def read_request(reader: asyncio.StreamReader, number: int) -> Came:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:] if line)
    return Came(number, lines[0], headers, await reader.readexactly(int(headers.get("Content-Length", 0))))


def always(data: bytes, *, and_close: bool = False) -> Answering:
    async def answer(came: Came, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if and_close:
            writer.close()

    return answer


async def echo(came: Came, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(came.body), came.body))


async def ask(connections: Connections, body: bytes = b"x") -> Reply:
    return await connections.ask("POST", "/v2/models/m/infer", {"A": "b"}, body)


@pytest.mark.parametrize("piece", [1, 7, 10_000])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_answer_is_read_however_it_is_cut_and_its_connection_serves_the_next(run: Run, form: str, piece: int) -> None:
    async def answer(came: Came, writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(FORMS[form]), piece):
            writer.write(FORMS[form][start : start + piece])
            await asyncio.sleep(0)

    async def main() -> None:
        async with serving(answer) as served:
            connections = Connections(served.url)
            for _ in range(3):
                assert await ask(connections) == Reply(200, b"hello", "3")
            assert served.over() == [1, 1, 1]

    run(main())


def test_a_request_says_what_it_is_and_nothing_else(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as served:
            connections = Connections(f"{served.url}/")
            await connections.ask("POST", "/v2/models/a b/infer", {"Content-Type": "text/plain"}, b"body")
            await connections.ask("GET", "/v2", {})
            host = served.url.removeprefix("http://")
            assert served.came == [
                Came(
                    1, "POST /v2/models/a%20b/infer HTTP/1.1", {"Host": host, "Content-Length": "4", "Content-Type": "text/plain"}, b"body"
                ),
                Came(1, "GET /v2 HTTP/1.1", {"Host": host}, b""),
            ]

    run(main())


@pytest.mark.parametrize("head", [b"204 No Content", b"304 Not Modified", b"200 OK\r\nContent-Length: 0"])
def test_an_answer_may_have_no_body(run: Run, head: bytes) -> None:
    async def main() -> None:
        async with serving(always(b"HTTP/1.1 " + head + b"\r\n\r\n")) as served:
            connections = Connections(served.url)
            assert [await ask(connections) for _ in range(2)] == [Reply(int(head[:3]), b"", None)] * 2
            assert served.over() == [1, 1]

    run(main())


@pytest.mark.parametrize("last", [HELLO.replace(b"\r\nContent", b"\r\nConnection: close\r\nContent", 1), HELLO.replace(b"/1.1", b"/1.0")])
def test_an_answer_that_is_the_last_of_its_connection_is_whole_and_the_next_comes_over_another(run: Run, last: bytes) -> None:
    async def main() -> None:
        async with serving(always(last)) as served:
            connections = Connections(served.url)
            assert [(await ask(connections)).body for _ in range(3)] == [b"hello"] * 3
            assert served.over() == [1, 2, 3]

    run(main())


@pytest.mark.parametrize("pause_s", [0.0, 0.02])
def test_a_connection_that_the_server_closes_between_requests_is_no_error(run: Run, pause_s: float) -> None:
    async def main() -> None:
        async with serving(always(HELLO, and_close=True)) as served:
            connections = Connections(served.url)
            for _ in range(3):
                assert (await ask(connections)).body == b"hello"
                await asyncio.sleep(pause_s)
            assert served.over() == [1, 2, 3]

    run(main())


def test_what_a_kept_connection_does_not_answer_is_asked_once_more_over_a_new_one(run: Run) -> None:
    async def answer(came: Came, writer: asyncio.StreamWriter) -> None:
        if came.body == b"second" and came.connection == 1:
            writer.close()
        else:
            await echo(came, writer)

    async def main() -> None:
        async with serving(answer) as served:
            connections = Connections(served.url)
            assert [(await ask(connections, body)).body for body in (b"first", b"second")] == [b"first", b"second"]
            assert served.over() == [1, 1, 2]

    run(main())


def test_what_a_new_connection_does_not_answer_is_asked_once(run: Run) -> None:
    async def main() -> None:
        async with serving(always(b"", and_close=True)) as served:
            with pytest.raises(ServerUnavailable, match="Triton cannot be reached: the connection was closed before the answer was whole"):
                await ask(Connections(served.url))
            assert served.over() == [1]

    run(main())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (HELLO[:-1], "before the answer was whole"),
        (b"SSH-2.0-any\r\n", "its answer is not HTTP"),
        (b"HTTP/1.1 101 Now\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n", "Triton cannot be reached"),
    ],
)
def test_half_an_answer_or_none_of_http_fails_and_is_not_asked_again(run: Run, data: bytes, why: str) -> None:
    async def answer(came: Came, writer: asyncio.StreamWriter) -> None:
        if came.body == b"bad":
            writer.write(data)
            writer.close()
        else:
            await echo(came, writer)

    async def main() -> None:
        async with serving(answer) as served:
            connections = Connections(served.url)
            await ask(connections)
            with pytest.raises(ConnectionEnded, match=why):
                await ask(connections, b"bad")
            assert (await ask(connections, b"good")).body == b"good"
            assert served.over() == [1, 1, 2]

    run(main())


def test_a_server_that_is_not_there_cannot_be_reached(run: Run) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as held:
            port = held.getsockname()[1]
        with pytest.raises(ServerUnavailable, match="Triton cannot be reached"):
            await ask(Connections(f"http://127.0.0.1:{port}"))

    run(main())


def test_a_server_that_hangs_up_at_once_cannot_be_reached(run: Run) -> None:
    async def main() -> None:
        server = await asyncio.start_server(lambda reader, writer: writer.transport.abort(), "127.0.0.1", 0)
        connections = Connections(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        for body in (b"x", bytes(2 * PIECE_BYTES)) * 10:
            with pytest.raises(ServerUnavailable, match="Triton cannot be reached"):
                await ask(connections, body)
        server.close()

    run(main())


@pytest.mark.parametrize("url", ["https://a:1", "127.0.0.1:8000", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingError, match="expected http://host:port"):
        Connections(url)


@pytest.mark.parametrize("pause_s", [None, 0.0, 0.01])
def test_an_answer_that_nobody_asked_for_meets_no_request(run: Run, pause_s: float | None) -> None:
    async def answer(came: Came, writer: asyncio.StreamWriter) -> None:
        await echo(came, writer)
        if pause_s is not None:
            await writer.drain()
            await asyncio.sleep(pause_s)
        writer.write(HELLO)

    async def main() -> None:
        async with serving(answer) as served:
            connections = Connections(served.url)
            for number in range(5):
                assert (await ask(connections, b"%d" % number)).body == b"%d" % number
                while connections.num_open:
                    await asyncio.sleep(0.001)
            assert served.num_connections == 5

    run(main())


def test_requests_that_are_given_up_at_any_moment_leave_no_answer_to_others(run: Run) -> None:
    draw = random.Random(0)

    async def answer(came: Came, writer: asyncio.StreamWriter) -> None:
        data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(came.body), came.body)
        cut = draw.randrange(len(data))
        for part in (data[:cut], data[cut:]):
            await asyncio.sleep(draw.choice((0, 0.001, 0.003)))
            writer.write(part)

    async def client(connections: Connections, name: int, outcomes: list[bool]) -> None:
        for number in range(60):
            body = b"%d of %d" % (number, name)
            try:
                async with asyncio.timeout(draw.choice((0.0005, 0.002, 0.004, 1))):
                    assert (await ask(connections, body)).body == body
            except TimeoutError:
                outcomes.append(False)
            else:
                outcomes.append(True)

    async def main() -> None:
        async with serving(answer) as served:
            connections, outcomes = Connections(served.url), list[bool]()
            await asyncio.gather(*(client(connections, name, outcomes) for name in range(8)))
            # Both happened often, and connections were used again.
            assert min(outcomes.count(True), outcomes.count(False)) > 50
            assert served.num_connections < len(outcomes)

    run(main())


def test_a_request_that_is_given_up_ends_its_connection(run: Run) -> None:
    async def main() -> None:
        async with serving(lambda came, writer: asyncio.sleep(5)) as served:
            connections = Connections(served.url)
            for body in (b"x", bytes(2 * PIECE_BYTES)):
                waiting = asyncio.create_task(ask(connections, body))
                while not connections.num_open:
                    await asyncio.sleep(0.001)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                await asyncio.sleep(0.02)
                assert connections.num_open == 0

    run(main())


def test_a_server_that_is_late_fails_its_request_and_not_the_next(run: Run) -> None:
    async def answer(came: Came, writer: asyncio.StreamWriter) -> None:
        body = b'{"versions":["2"]}'
        if "late" in came.line:
            await asyncio.sleep(0.3)
            body = b'{"versions":["1"]}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async def main() -> None:
        async with serving(answer) as served, Upstream(served.url, 0.1) as upstream:
            assert await upstream.versions("model") == ["2"]
            with pytest.raises(ServerUnavailable, match="Triton did not answer in time"):
                await upstream.versions("late")
            await asyncio.sleep(0.3)
            assert await upstream.versions("model") == ["2"]
            assert served.over() == [1, 1, 2]

    run(main())


def test_many_at_a_time_get_their_own_answers_and_only_some_connections_are_kept(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as served:
            connections = Connections(served.url)
            bodies = [b"%d, " % number * (1 if number % 8 else 100_000) for number in range(3 * MAX_IDLE)]
            replies = await asyncio.gather(*(ask(connections, body) for body in bodies))
            assert [reply.body for reply in replies] == bodies
            await asyncio.sleep(0.05)
            assert connections.num_open == MAX_IDLE
            connections.close()
            await asyncio.sleep(0.05)
            assert connections.num_open == 0

    run(main())


def test_a_connection_that_was_idle_for_long_is_not_used(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_S", 0.05)

    async def main() -> None:
        async with serving(echo) as served:
            connections = Connections(served.url)
            for pause_s in (0.0, 0.1, 0.0):
                await ask(connections)
                await asyncio.sleep(pause_s)
            assert served.over() == [1, 1, 2]

    run(main())


def test_closing_fails_what_waits(run: Run) -> None:
    async def main() -> None:
        async with serving(lambda came, writer: asyncio.sleep(5)) as served:
            connections = Connections(served.url)
            waiting = asyncio.create_task(ask(connections))
            while not served.came:
                await asyncio.sleep(0.001)
            connections.close()
            with pytest.raises(ServerUnavailable):
                await waiting

    run(main())


def read_exactly(client: socket.socket, num_bytes: int) -> None:
    buffer = memoryview(bytearray(1 << 16))
    while num_bytes:
        num_bytes -= client.recv_into(buffer, min(len(buffer), num_bytes))


@contextmanager
def thread_that(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve one connection in a thread that holds next to nothing itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with listener.accept()[0] as client:
                serve(client)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


def skip_head(client: socket.socket) -> None:
    found = b""
    while not found.endswith(b"\r\n\r\n"):
        found += client.recv(1)


def peak_bytes(run: Run, main: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Give what was allocated at most while something ran."""
    tracemalloc.start()
    try:
        run(main())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_body_of_64_mib_is_sent_without_a_copy(run: Run) -> None:
    def serve(client: socket.socket) -> None:
        skip_head(client)
        read_exactly(client, LARGE)
        client.sendall(HELLO)

    body = bytes(LARGE)
    with thread_that(serve) as url:

        async def main() -> None:
            assert (await ask(Connections(url), body)).body == b"hello"

        assert peak_bytes(run, main) < 8 * PIECE_BYTES


def test_an_answer_of_64_mib_is_put_together_once(run: Run) -> None:
    part = bytes(1 << 16)

    def serve(client: socket.socket) -> None:
        skip_head(client)
        read_exactly(client, 1)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
        for _ in range(LARGE // len(part)):
            client.sendall(part)

    with thread_that(serve) as url:

        async def main() -> None:
            assert len((await ask(Connections(url))).body) == LARGE

        assert peak_bytes(run, main) < 2 * LARGE + 16 * PIECE_BYTES


def test_an_answer_that_comes_before_the_whole_body_is_sent_counts_and_ends_the_connection(run: Run) -> None:
    ended = threading.Event()

    def serve(client: socket.socket) -> None:
        skip_head(client)
        client.sendall(HELLO.replace(b"200 OK", b"413 No"))
        ended.wait(10)

    with thread_that(serve) as url:

        async def main() -> None:
            connections = Connections(url)
            reply = await ask(connections, bytes(LARGE))
            assert reply == Reply(413, b"hello", "3")
            await asyncio.sleep(0.05)
            assert connections.num_open == 0
            ended.set()

        run(main())
