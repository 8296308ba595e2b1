"""Heads and connections that never end, on a real port; uvicorn alone would wait and read for ever."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import uvicorn

from reelspace.gateway import http1
from reelspace.gateway.http1 import MAX_HEAD_BYTES, BoundedHttp
from reelspace.gateway.server import Server


async def echo(scope: dict, receive, send) -> None:  # type: ignore[no-untyped-def,type-arg]
    message = await receive()
    if scope["path"] == "/slow":
        await asyncio.sleep(0.8)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        patch.setattr(http1, "HEAD_S", 0.5)
        patch.setattr(http1, "MAX_CONNECTIONS", 8)
        server = Server(uvicorn.Config(echo, http=BoundedHttp, log_level="error", lifespan="off"))  # type: ignore[arg-type]
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


def answered(port: int, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """Send pieces and give all that comes back until the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        for piece in pieces:
            try:
                client.sendall(piece)
            except OSError:
                break
            time.sleep(pause_s)
        found = b""
        try:
            while more := client.recv(65_536):
                found += more
        except ConnectionResetError:
            pass
        return found


def test_good_requests_are_answered_one_after_the_other(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for size in (0, 10, 100_000):
            assert client.post("/", content=b"x" * size).status_code == 200
        assert client.get("/", headers={"x": "y" * (MAX_HEAD_BYTES - 500)}).status_code == 200


LARGE = {
    "one header": b"GET / HTTP/1.1\r\nx: " + b"y" * 65_536 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 10_000 + b"\r\n",
    "address": b"GET /" + b"y" * 65_536 + b" HTTP/1.1\r\nx: y\r\n\r\n",
    "header without an end": b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000,
    "address without an end": b"GET /" + b"y" * 100_000,
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("piece", [1 << 20, 1000])
def test_a_head_of_64_kb_is_refused(port: int, name: str, piece: int) -> None:
    data = LARGE[name]
    answer = answered(port, *(data[start : start + piece] for start in range(0, len(data), piece)))
    assert answer.startswith(b"HTTP/1.1 431 ") or (piece == 1000 and not answer)  # reset while the rest was on its way
    assert b"HTTP/1.1 200" not in answer


def test_a_head_that_comes_byte_by_byte_is_given_up(port: int) -> None:
    begun_s = time.monotonic()
    answer = answered(port, *(bytes([one]) for one in b"GET / HTTP/1.1\r\nhost: x\r\n"), pause_s=0.03)
    assert answer.startswith(b"HTTP/1.1 408 ") or not answer
    assert 0.4 < time.monotonic() - begun_s < 5


@pytest.mark.parametrize("begun", [b"", b"GET / HT"])
def test_a_connection_that_says_nothing_more_is_closed(port: int, begun: bytes) -> None:
    begun_s = time.monotonic()
    assert answered(port, begun).startswith(b"HTTP/1.1 408 " if begun else b"")
    assert 0.4 < time.monotonic() - begun_s < 5


def test_what_is_answered_slowly_is_answered_whatever_comes_next(port: int) -> None:
    request = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n"
    answer = answered(port, request + b"GET / HT")
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_what_is_no_http_is_refused_in_the_shape_of_the_dialect(port: int) -> None:
    answer = answered(port, b"\x16\x03\x01 hello\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b'{"status":{"error":"request: expected HTTP/1.1"},"result":null,"time":0.0}')


def test_idle_connections_keep_nobody_out_and_end_no_request(port: int) -> None:
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(answered, port, b"GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        time.sleep(0.1)
        idle = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(40)]
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
        assert slow.result().startswith(b"HTTP/1.1 200 ")
        for one in idle:
            one.close()


def test_connections_above_the_limit_are_closed_when_all_have_a_request(port: int) -> None:
    request = b"GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: answered(port, request), range(12)))
    assert sorted(answer[9:12] for answer in answers) == [b""] * 4 + [b"200"] * 8
    assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
