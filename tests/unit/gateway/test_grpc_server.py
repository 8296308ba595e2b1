"""The gRPC server on a real port, called by the official gRPC client, which shares no code with it."""

import asyncio
import gzip
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from socket import create_server

import grpc
import numpy as np
import pytest
import uvloop

from reelspace.core.errors import DiskFull, InternalError, ReelspaceError, ServerUnavailable
from reelspace.gateway.grpc_application import GrpcApplication
from reelspace.gateway.grpc_server import GrpcServer
from reelspace.gateway.grpc_status import Code, code_of
from reelspace.gateway.http2.settings import Http2Settings
from reelspace.search.access.fanout import Overloaded
from reelspace.search.access.messages.call import Call
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.shard_client import ShardTimeout
from reelspace.search.storage.rows import RowRefused
from reelspace.search.storage.writer import LogBusy, RequestKeyReused

MAX_BYTES = 1 << 20
ERRORS: dict[bytes, Exception] = {
    b"refused": RequestRefused("limit", "expected 100 % of\nwhat is 猫"),
    b"missing": RequestRefused("collection", "no such", status=404),
    b"busy": Overloaded("too many"),
    b"away": ServerUnavailable("the shard is away"),
    b"ours": InternalError("secret detail"),
    b"bug": KeyError("secret detail"),
}


@dataclass
class Running:
    """A server in a thread, and what it was asked."""

    port: int = 0
    calls: list[Call] = field(default_factory=list)
    counted: "Counter[tuple[str, str]]" = field(default_factory=Counter)
    cancelled: threading.Event = field(default_factory=threading.Event)
    loop: asyncio.AbstractEventLoop | None = None
    server: GrpcServer | None = None

    async def echo(self, message: bytes, call: Call) -> bytes:
        self.calls.append(call)
        return message

    async def fail(self, message: bytes, call: Call) -> bytes:
        raise ERRORS[message]

    async def sleep(self, message: bytes, call: Call) -> bytes:
        try:
            await asyncio.sleep(float(message))
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return message

    def channel(self, **options: int | str) -> grpc.Channel:
        unbounded = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1, "grpc.use_local_subchannel_pool": 1}
        given = {f"grpc.{name}": value for name, value in options.items()}
        return grpc.insecure_channel(f"127.0.0.1:{self.port}", list((unbounded | given).items()))

    def call(self, name: str, message: bytes, timeout_s: float | None = 10, **more: object) -> bytes:
        with self.channel() as channel:
            answer: bytes = channel.unary_unary(f"/test/{name}")(message, timeout=timeout_s, **more)
            return answer


def start(running: Running, settings: Http2Settings) -> threading.Thread:
    """Serve in a thread until the loop is stopped."""
    ready = threading.Event()

    async def serve() -> None:
        methods = {"/test/echo": running.echo, "/test/fail": running.fail, "/test/sleep": running.sleep}

        def count(path: str, code: str, seconds: float) -> None:
            running.counted[path, code] += 1

        application = GrpcApplication(methods, settings.max_body_bytes, count)
        running.server = GrpcServer(application, settings)
        listener = create_server(("127.0.0.1", 0))
        running.port = listener.getsockname()[1]
        running.loop = asyncio.get_running_loop()
        await running.server.start(listener)
        ready.set()
        await asyncio.sleep(3600)

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(serve())
            except (RuntimeError, asyncio.CancelledError):
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    return thread


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    running = Running()
    thread = start(running, Http2Settings(max_body_bytes=MAX_BYTES + 5))
    yield running
    assert running.loop is not None
    for task in asyncio.all_tasks(running.loop):
        running.loop.call_soon_threadsafe(task.cancel)
    thread.join(10)


def status_of(call: "grpc.RpcError") -> tuple[grpc.StatusCode, str]:
    return call.code(), call.details()


@pytest.mark.parametrize("size", [0, 1, 16_384, 100_000, MAX_BYTES])
def test_messages_come_back_as_they_were_sent(running: Running, size: int) -> None:
    message = np.random.default_rng(size).bytes(size)
    assert running.call("echo", message) == message


def test_many_calls_at_a_time_over_one_channel_get_their_own_answers(running: Running) -> None:
    with running.channel() as channel, ThreadPoolExecutor(16) as threads:
        echo = channel.unary_unary("/test/echo")
        messages = [str(number).encode() * (number % 70) for number in range(400)]
        assert list(threads.map(lambda message: echo(message, timeout=20), messages)) == messages


def test_small_frames_and_windows_of_a_client_are_kept(running: Running) -> None:
    message = np.random.default_rng(1).bytes(300_000)
    with running.channel(**{"http2.max_frame_size": 16_384, "http2.lookahead_bytes": 1000, "http2.bdp_probe": 0}) as channel:
        assert channel.unary_unary("/test/echo")(message, timeout=10) == message


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (b"refused", grpc.StatusCode.INVALID_ARGUMENT, "limit: expected 100 % of what is 猫"),
        (b"missing", grpc.StatusCode.NOT_FOUND, "collection: no such"),
        (b"busy", grpc.StatusCode.RESOURCE_EXHAUSTED, "too many"),
        (b"away", grpc.StatusCode.UNAVAILABLE, "the shard is away"),
        (b"ours", grpc.StatusCode.INTERNAL, "internal error; the server's log has it"),
        (b"bug", grpc.StatusCode.INTERNAL, "internal error; the server's log has it"),
    ],
)
def test_errors_have_their_code_and_message_and_tell_nothing_of_bugs(
    running: Running, message: bytes, code: grpc.StatusCode, text: str
) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        running.call("fail", message)
    assert status_of(failed.value) == (code, text)
    retry = dict(failed.value.trailing_metadata()).get("retry-after")
    assert retry == ("1" if message in (b"busy", b"away") else None)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RowRefused("x"), Code.INVALID_ARGUMENT),
        (RequestRefused("x", "x", status=409), Code.ALREADY_EXISTS),
        (RequestKeyReused("x", 1), Code.ABORTED),
        (RequestRefused("x", "x", status=413), Code.RESOURCE_EXHAUSTED),
        (LogBusy("x"), Code.RESOURCE_EXHAUSTED),
        (DiskFull("x"), Code.RESOURCE_EXHAUSTED),
        (RequestRefused("x", "x", status=501), Code.UNIMPLEMENTED),
        (ShardTimeout("x"), Code.DEADLINE_EXCEEDED),
        (RequestRefused("x", "x", status=418), Code.INTERNAL),
        (ReelspaceError("x"), Code.INTERNAL),
        (ValueError("x"), Code.INTERNAL),
    ],
)
def test_codes_follow_the_statuses_of_http(error: Exception, code: Code) -> None:
    assert code_of(error) == code
    assert grpc.StatusCode[code.name].value[0] == code


def test_unknown_method_is_unimplemented_by_name(running: Running) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        running.call("other", b"")
    assert status_of(failed.value) == (grpc.StatusCode.UNIMPLEMENTED, "test/other is not served here")


def test_message_above_the_limit_is_refused_by_size(running: Running) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        running.call("echo", b"x" * (MAX_BYTES + 1))
    assert failed.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_packed_messages_are_unpacked(running: Running, compression: grpc.Compression) -> None:
    assert running.call("echo", b"x" * 50_000, compression=compression) == b"x" * 50_000


def test_message_that_is_small_packed_and_large_unpacked_is_refused(running: Running) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        running.call("echo", b"x" * (50 * MAX_BYTES), compression=grpc.Compression.Gzip)
    assert failed.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("identity", b""),
        ("identity", b"\0\0\0\0"),
        ("identity", b"\0\0\0\0\x05abcd"),
        ("identity", b"\0\0\0\0\x03abcd"),
        ("identity", b"\0\0\0\0\0\0\0\0\0\0"),
        ("identity", b"\x02\0\0\0\x01a"),
        ("identity", b"\x01\0\0\0\x01a"),
        ("gzip", b"\x01\0\0\0\x01a"),
        ("gzip", b"\x01\0\0\0\x0a" + gzip.compress(b"abc", mtime=0)[:10]),
        ("deflate", b"\x01\0\0\0\x0c" + zlib.compress(b"abc") + b"x"),
    ],
)
def test_body_that_is_not_one_whole_message_is_refused(encoding: str, body: bytes) -> None:
    async def run() -> tuple[str, bytes]:
        codes: list[str] = []

        async def echo(message: bytes, call: Call) -> bytes:
            return message

        application = GrpcApplication({"/test/echo": echo}, MAX_BYTES, lambda path, code, seconds: codes.append(code))
        headers = {":method": "POST", ":path": "/test/echo", "content-type": "application/grpc", "grpc-encoding": encoding}
        answer = await application.answer(application.read_head(list(headers.items())), body, asyncio.get_running_loop().time())
        return codes[0], answer.body

    assert asyncio.run(run()) == ("INVALID_ARGUMENT", b"")


def test_deadline_of_the_client_reaches_the_method_and_cancels_it(running: Running) -> None:
    running.call("echo", b"", timeout_s=7)
    left_s = running.calls[-1].timeout_s
    assert left_s is not None
    assert 5 < left_s <= 7.1
    running.call("echo", b"", timeout_s=None)
    assert running.calls[-1].timeout_s is None
    running.cancelled.clear()
    with pytest.raises(grpc.RpcError) as failed:
        running.call("sleep", b"30", timeout_s=0.1)
    assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert running.cancelled.wait(5)


def test_metadata_reaches_the_method(running: Running) -> None:
    running.call("echo", b"", metadata=(("idempotency-key", "abc"), ("other", "1")))
    metadata = running.calls[-1].metadata
    assert (metadata["idempotency-key"], metadata["other"]) == ("abc", "1")
    assert running.calls[-1].request_key == "abc"


def test_calls_are_counted_by_path_and_code_and_unknown_paths_as_one(running: Running) -> None:
    running.counted.clear()
    running.call("echo", b"")
    for name, message in (("fail", b"busy"), ("fail", b"bug"), ("a", b""), ("b", b"")):
        with pytest.raises(grpc.RpcError):
            running.call(name, message)
    assert running.counted == {
        ("/test/echo", "OK"): 1,
        ("/test/fail", "RESOURCE_EXHAUSTED"): 1,
        ("/test/fail", "INTERNAL"): 1,
        ("unknown", "UNIMPLEMENTED"): 2,
    }


def test_stopping_lets_calls_end_and_closes_idle_connections() -> None:
    running = Running()
    thread = start(running, Http2Settings())
    assert running.loop is not None
    assert running.server is not None
    with running.channel() as idle, running.channel() as busy, ThreadPoolExecutor(1) as threads:
        idle.unary_unary("/test/echo")(b"", timeout=10)
        call = threads.submit(lambda: busy.unary_unary("/test/sleep")(b"0.4", timeout=10))
        time.sleep(0.1)
        begun_s = time.monotonic()
        asyncio.run_coroutine_threadsafe(running.server.stop(5), running.loop).result(10)
        assert 0.1 < time.monotonic() - begun_s < 3
        assert call.result() == b"0.4"
        with pytest.raises(grpc.RpcError):
            idle.unary_unary("/test/echo")(b"", timeout=0.5)
    for task in asyncio.all_tasks(running.loop):
        running.loop.call_soon_threadsafe(task.cancel)
    thread.join(10)
