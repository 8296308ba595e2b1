"""Connections of HTTP/2, driven in memory by an independent implementation of the client's side, and by bytes that are none."""

import asyncio
from collections.abc import Callable

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hpack
import numpy as np
import pytest

from reelspace.gateway.http2 import frames
from reelspace.gateway.http2.connection import MAX_CLOSING_S, MAX_GREETING_S, MAX_IDLE_FRAMES, MAX_RESETS, Connection, Load
from reelspace.gateway.http2.frames import ConnectionBroken, frame, number
from reelspace.gateway.http2.headers import HeaderReader, Pairs, encode_headers
from reelspace.gateway.http2.settings import Http2Settings

from .http2_client import OK, SETTINGS, Client, Echo, Wire, forever, run


@pytest.mark.parametrize("piece", [0, 1, 7, 9_000])
@pytest.mark.parametrize("size", [0, 1, 16_379, 16_384, 65_535, 65_536, 500_000])
def test_body_comes_back_whole_however_its_bytes_are_cut(size: int, piece: int) -> None:
    async def test() -> None:
        if size * 3 > 60_000 and piece in (1, 7):
            return
        client = Client(Echo())
        body = np.random.default_rng(size).bytes(size)
        stream = client.request(body)
        client.exchange(piece)
        await client.settle()
        assert client.status(stream) == "200"
        assert client.ended(stream)
        assert client.bodies.get(stream, b"") == body
        trailers = next(event for event in client.events if isinstance(event, h2.events.TrailersReceived))
        assert dict(trailers.headers) == {b"status": b"0", b"long": b"t" * 300}
        assert client.load.held_bytes == 0

    run(test)


def test_many_requests_at_a_time_get_their_own_answers_through_a_narrow_window() -> None:
    async def test() -> None:
        client = Client(Echo())
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1000})
        client.exchange()
        bodies = {client.request(bytes([number]) * (3000 + number)): bytes([number]) * (3000 + number) for number in range(8)}
        await client.settle()
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 100})  # windows may become negative
        await client.settle()
        assert client.bodies == bodies

    run(test)


def test_client_without_a_table_of_headers_reads_ours() -> None:
    async def test() -> None:
        client = Client(Echo())
        client.h2.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: 0})
        client.exchange()
        stream = client.request(b"x")
        await client.settle()
        assert client.status(stream) == "200"

    run(test)


def test_connection_takes_more_bytes_and_pings_in_its_life_than_at_a_time() -> None:
    async def test() -> None:
        client = Client(Echo())
        for _ in range(18):
            client.request(b"x" * (1 << 20))
            client.server.data_received(frame(frames.PING, 0, 0, b"12345678") * (MAX_IDLE_FRAMES // 16))
            await client.settle()
        assert client.goodbye is None
        assert not client.wire.closing

    run(test)


def test_requests_above_the_limit_are_refused_and_may_be_sent_again() -> None:
    async def test() -> None:
        gate = asyncio.Event()

        async def wait(head: str) -> None:
            await gate.wait()

        client = Client(Echo(wait))
        client.h2.remote_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] = 100  # a client that does not care
        client.h2.remote_settings.acknowledge()
        streams = [client.request(b"x") for _ in range(9)]
        await client.settle()
        resets = [event for event in client.events if isinstance(event, h2.events.StreamReset)]
        assert [(event.stream_id, event.error_code) for event in resets] == [(streams[8], h2.errors.ErrorCodes.REFUSED_STREAM)]
        gate.set()
        await client.settle()
        again = client.request(b"x")
        await client.settle()
        assert all(client.status(stream) == "200" for stream in [*streams[:8], again])

    run(test)


def test_a_bug_is_answered_and_breaks_nothing_else() -> None:
    async def test() -> None:
        client = Client(Echo())
        broken, whole = client.request(b"x", "/broken"), client.request(b"y")
        await client.settle()
        assert (client.status(broken), client.status(whole)) == ("500", "200")

    run(test)


def test_what_a_client_gives_up_is_cancelled() -> None:
    async def test() -> None:
        echo = Echo(forever)
        client = Client(echo)
        stream = client.request(b"x" * 100)
        client.request(b"y")
        await client.settle()
        client.h2.reset_stream(stream)
        await client.settle()
        assert echo.cancelled == 1
        assert client.load.held_bytes == 1
        client.server.connection_lost(None)
        await asyncio.sleep(0)
        assert echo.cancelled == 2
        assert (client.load.held_bytes, client.load.connections) == (0, set())

    run(test)


def test_body_above_the_limit_is_refused_before_it_is_whole() -> None:
    async def test() -> None:
        client = Client(Echo())
        stream = client.request(b"x" * ((1 << 20) + 1), end=False)
        fine = client.request(b"x" * (1 << 20))
        await client.settle()
        assert client.status(stream) == "413"
        assert client.status(fine) == "200"
        assert client.load.held_bytes == 0

    run(test)


def test_bodies_of_all_connections_together_are_bounded() -> None:
    async def test() -> None:
        load = Load()
        one, two = Client(Echo(forever), load=load), Client(Echo(forever), load=load)
        for client in (one, two):
            client.request(b"x" * (1 << 20))
        await one.settle()
        third = two.request(b"x" * (1 << 20))
        fourth = two.request(b"x")
        await two.settle()
        assert two.status(third) is None
        assert two.status(fourth) == "429"

    run(test)


def test_connections_above_the_limit_are_closed() -> None:
    async def test() -> None:
        load = Load()
        first, second = Client(Echo(), load=load), Client(Echo(), load=load)
        wire = Wire()
        third = Connection(Echo(), SETTINGS, load)
        third.connection_made(wire)  # type: ignore[arg-type]
        assert (first.wire.aborted, second.wire.aborted, wire.aborted) == (False, False, True)
        third.connection_lost(None)
        assert load.connections == {first.server, second.server}

    run(test)


def _rapid_resets(client: Client) -> None:
    for _ in range(MAX_RESETS + 1):
        stream = client.request()
        client.h2.reset_stream(stream)
        client.exchange()


def _pings(client: Client) -> None:
    client.server.data_received(frame(frames.PING, 0, 0, b"12345678") * (MAX_IDLE_FRAMES + 1))


def _settings(client: Client) -> None:
    client.server.data_received(frame(frames.SETTINGS, 0, 0) * (MAX_IDLE_FRAMES + 1))


def _empty_data(client: Client) -> None:
    stream = client.request(b"x", end=False)
    client.exchange()
    client.server.data_received(frame(frames.DATA, 0, stream) * (MAX_IDLE_FRAMES + 1))


def _priorities(client: Client) -> None:
    client.server.data_received(frame(frames.PRIORITY, 0, 1, b"12345") * (MAX_IDLE_FRAMES + 1))


def _continuations(client: Client) -> None:
    client.server.data_received(frame(frames.HEADERS, 0, 1) + frame(frames.CONTINUATION, 0, 1) * 100)


def _large_block(client: Client) -> None:
    block = encode_headers([(b"a", b"b" * 15_000)])
    client.server.data_received(frame(frames.HEADERS, 0, 1, block) + frame(frames.CONTINUATION, frames.END_HEADERS, 1, b""))


@pytest.mark.parametrize("flood", [_rapid_resets, _pings, _settings, _empty_data, _priorities, _continuations, _large_block])
def test_floods_end_the_connection(flood: Callable[[Client], None]) -> None:
    async def test() -> None:
        client = Client(Echo())
        flood(client)
        client.exchange()
        assert client.goodbye.error_code == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
        assert client.wire.closing

    run(test)


def test_clients_that_give_up_now_and_then_are_served_on() -> None:
    async def test() -> None:
        client = Client(Echo())
        for _ in range(MAX_RESETS + 10):
            client.h2.reset_stream(client.request())
            client.request(b"x")
            client.exchange()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await client.settle()
        assert client.goodbye is None
        stream = client.request(b"x")
        await client.settle()
        assert client.status(stream) == "200"

    run(test)


WRONG = {
    "no preface": (b"GET / HTTP/1.1\r\n\r\n", frames.PROTOCOL_ERROR),
    "no settings": (frames.PREFACE + frame(frames.PING, 0, 0, b"12345678"), frames.PROTOCOL_ERROR),
    "frame too large": (frame(frames.DATA, 0, 1, b"x" * 16_385), frames.FRAME_SIZE_ERROR),
    "data on an idle stream": (frame(frames.DATA, 0, 1, b"x"), frames.PROTOCOL_ERROR),
    "data on stream 0": (frame(frames.DATA, 0, 0, b"x"), frames.PROTOCOL_ERROR),
    "headers on an even stream": (frame(frames.HEADERS, frames.END_HEADERS, 2, OK), frames.PROTOCOL_ERROR),
    "headers on stream 0": (frame(frames.HEADERS, frames.END_HEADERS, 0, OK), frames.PROTOCOL_ERROR),
    "no hpack": (frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff"), frames.COMPRESSION_ERROR),
    "too many headers": (frame(frames.HEADERS, frames.END_HEADERS, 1, encode_headers([(b"a", b"b")] * 200)), frames.ENHANCE_YOUR_CALM),
    "padding too long": (frame(frames.HEADERS, frames.END_HEADERS | frames.PADDED, 1, b"\x09abc"), frames.PROTOCOL_ERROR),
    "priority too short": (frame(frames.HEADERS, frames.END_HEADERS | frames.WITH_PRIORITY, 1, b"abc"), frames.FRAME_SIZE_ERROR),
    "continuation of nothing": (frame(frames.CONTINUATION, 0, 1, OK), frames.PROTOCOL_ERROR),
    "ping between headers": (frame(frames.HEADERS, 0, 1, OK) + frame(frames.PING, 0, 0, b"12345678"), frames.PROTOCOL_ERROR),
    "ping of 7 bytes": (frame(frames.PING, 0, 0, b"1234567"), frames.FRAME_SIZE_ERROR),
    "settings of 5 bytes": (frame(frames.SETTINGS, 0, 0, b"12345"), frames.FRAME_SIZE_ERROR),
    "window above 2^31": (frames.settings({frames.INITIAL_WINDOW_SIZE: 2**31}), frames.FLOW_CONTROL_ERROR),
    "frames of 10 bytes": (frames.settings({frames.MAX_FRAME_SIZE: 10}), frames.PROTOCOL_ERROR),
    "push enabled twice": (frames.settings({frames.ENABLE_PUSH: 2}), frames.PROTOCOL_ERROR),
    "push": (frame(frames.PUSH_PROMISE, 0, 1, OK), frames.PROTOCOL_ERROR),
    "window grows by 0": (frame(frames.WINDOW_UPDATE, 0, 0, number(0)), frames.PROTOCOL_ERROR),
    "window overflows": (frame(frames.WINDOW_UPDATE, 0, 0, number(2**31 - 1)), frames.FLOW_CONTROL_ERROR),
    "window of an idle stream": (frame(frames.WINDOW_UPDATE, 0, 5, number(1)), frames.PROTOCOL_ERROR),
    "reset of an idle stream": (frame(frames.RST_STREAM, 0, 5, number(8)), frames.PROTOCOL_ERROR),
}


@pytest.mark.parametrize("name", WRONG)
def test_broken_protocol_is_answered_with_the_code_of_the_rfc(name: str) -> None:
    async def test() -> None:
        data, code = WRONG[name]
        wire = Wire()
        server = Connection(Echo(), SETTINGS, Load())
        server.connection_made(wire)  # type: ignore[arg-type]
        begins = frames.PREFACE + frames.settings({})
        server.data_received(data if name.startswith("no preface") or name == "no settings" else begins + data)
        at = wire.written.rindex(frame(frames.GOAWAY, 0, 0)[3:])
        assert int.from_bytes(wire.written[at + 10 : at + 14], "big") == code
        assert wire.closing

    run(test)


def test_more_data_than_the_window_ends_the_connection() -> None:
    async def test() -> None:
        client = Client(Echo(), Http2Settings(max_body_bytes=1 << 30, max_held_bytes=1 << 30))
        stream = client.request(b"x", end=False)
        client.exchange()
        client.server._receive_window = 16_000
        client.server.data_received(frame(frames.DATA, 0, stream, b"x" * 16_384))
        client.exchange()
        assert client.goodbye.error_code == h2.errors.ErrorCodes.FLOW_CONTROL_ERROR

    run(test)


def test_random_bytes_never_raise_and_never_hang_the_connection_open_half_read() -> None:
    async def test() -> None:
        draw = np.random.default_rng(7)
        for _ in range(400):
            wire, load = Wire(), Load()
            server = Connection(Echo(), SETTINGS, load)
            server.connection_made(wire)  # type: ignore[arg-type]
            server.data_received(frames.PREFACE + frames.settings({}))
            for _ in range(20):
                payload = draw.bytes(int(draw.integers(40)))
                kind, flags, stream = (int(draw.integers(high)) for high in (11, 64, 8))
                server.data_received(frame(kind, flags, stream, payload))
                if wire.closing:
                    break
            await asyncio.sleep(0)
            server.connection_lost(None)
            assert load.held_bytes == 0
        await asyncio.sleep(0)

    run(test)


def test_what_takes_too_long_is_given_up() -> None:
    async def test() -> None:
        client = Client(Echo(forever), Http2Settings(arrival_s=5, answer_s=20, idle_s=100))
        now_s = asyncio.get_running_loop().time()
        half, whole = client.request(b"x", end=False), client.request(b"y")
        await client.settle()
        client.server.sweep(now_s + 4)
        client.exchange()
        assert (client.status(half), client.status(whole)) == (None, None)
        client.server.sweep(now_s + 6)
        client.exchange()
        assert (client.status(half), client.status(whole)) == ("504", None)
        client.server.sweep(now_s + 21)
        await client.settle()
        assert client.status(whole) == "504"
        assert client.server._application.cancelled == 1
        client.server.sweep(now_s + 101)
        client.exchange()
        assert client.goodbye.error_code == h2.errors.ErrorCodes.NO_ERROR
        assert not client.wire.aborted
        client.server.sweep(now_s + 102 + MAX_CLOSING_S)
        assert client.wire.aborted

    run(test)


def test_answer_that_nobody_takes_is_given_up() -> None:
    async def test() -> None:
        client = Client(Echo(), Http2Settings(answer_s=20))
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        client.exchange()
        stream = client.request(b"x" * 100)
        await client.settle()
        client.server.sweep(asyncio.get_running_loop().time() + 21)
        client.exchange()
        assert [event.stream_id for event in client.events if isinstance(event, h2.events.StreamReset)] == [stream]
        assert client.load.held_bytes == 0

    run(test)


@pytest.mark.parametrize("begun", [b"", frames.PREFACE[:10], frames.PREFACE])
def test_client_that_is_slow_to_greet_is_left(begun: bytes) -> None:
    async def test() -> None:
        wire = Wire()
        server = Connection(Echo(), SETTINGS, Load())
        server.connection_made(wire)  # type: ignore[arg-type]
        server.data_received(begun)
        server.sweep(asyncio.get_running_loop().time() + MAX_GREETING_S - 1)
        assert not wire.closing
        server.sweep(asyncio.get_running_loop().time() + MAX_GREETING_S + 1)
        assert wire.closing

    run(test)


def test_client_that_does_not_read_is_not_read_from_and_loses_nothing() -> None:
    async def test() -> None:
        client = Client(Echo())
        client.server.pause_writing()
        assert client.wire.paused
        stream = client.request(b"x" * 1000)
        await client.settle()
        assert client.status(stream) == "200"
        assert stream not in client.bodies
        client.server.resume_writing()
        client.exchange()
        assert not client.wire.paused
        assert client.bodies[stream] == b"x" * 1000

    run(test)


def test_leaving_answers_what_runs_and_takes_no_more() -> None:
    async def test() -> None:
        gate = asyncio.Event()

        async def wait(head: str) -> None:
            await gate.wait()

        echo = Echo(wait)
        client = Client(echo)
        stream = client.request(b"x")
        await client.settle()
        late = frame(frames.HEADERS, frames.END_HEADERS, 99, OK) + frame(frames.DATA, frames.END_STREAM, 99, b"x")
        client.server.leave()
        client.server.data_received(late)
        assert not client.wire.closing
        gate.set()
        for _ in range(4):
            await asyncio.sleep(0)
        # h2 takes nothing after a GOAWAY, although what is asked for still comes.
        assert client.wire.written.startswith(frame(frames.GOAWAY, 0, 0, number(stream) + number(frames.NO_ERROR)))
        assert frame(frames.DATA, 0, stream, b"x") in client.wire.written
        assert client.wire.closing
        assert echo.begun == ["/echo"]

    run(test)


# Fields of one byte, fields that enter the table, fields that do not, and new sizes of the table, which may come first only.
FIELDS = [b"\xbe", b"\xbf", b"\x82", b"\x40\x01a\x01b", b"\x40\x01a\x01c", b"\x40\x01a\x28" + b"d" * 40, b"\x00\x01e\x01f", b"\x7e\x01g"]
SIZES = [b"\x20", b"\x3f\x05", b"\x3f\x29", b"\x3f\xe1\x1f"]


@pytest.mark.parametrize("seed", range(8))
def test_cached_header_blocks_mean_what_an_uncached_decoder_says(seed: int) -> None:
    draw = np.random.default_rng(seed)
    for _ in range(60):
        plain, reader = hpack.Decoder(), HeaderReader[list[tuple[str, str]]](list, 65_536)
        for _ in range(40):
            block = b"".join(FIELDS[place] for place in draw.integers(len(FIELDS), size=int(draw.integers(1, 3))))
            if draw.random() < 0.15:
                block = SIZES[int(draw.integers(len(SIZES)))] + block
            try:
                expected = [(str(name), str(value)) for name, value in plain.decode(block)]
            except hpack.HPACKError:
                with pytest.raises(ConnectionBroken):
                    reader.decode(block)
                break
            assert reader.decode(block) == expected


def test_field_too_large_for_the_table_enters_it_once_the_table_is_larger() -> None:
    reader: HeaderReader[list[tuple[str, str]]] = HeaderReader(list, 65_536)
    large = b"\x40\x01a\x28" + b"d" * 40
    for block in (b"\x3f\x05\x82", large, large, b"\x3f\xe1\x1f\x82", large):
        reader.decode(block)
    assert reader.decode(b"\xbe") == [("a", "d" * 40)]


def test_header_that_is_small_packed_and_large_unpacked_is_refused() -> None:
    encoder = hpack.Encoder()
    reader: HeaderReader[Pairs] = HeaderReader(lambda pairs: pairs, 4096)
    reader.decode(encoder.encode([("a", "v" * 1000)]))
    bomb = encoder.encode([("a", "v" * 1000)] * 100)
    assert len(bomb) == 100
    with pytest.raises(ConnectionBroken):
        reader.decode(bomb)


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 254, 255, 256, 5000])
def test_written_headers_of_any_length_are_read_by_hpack(size: int) -> None:
    pairs = [(b"name", b"v" * size), (b"n" * max(size, 1), b"")]
    assert [(bytes(one), bytes(two)) for one, two in hpack.Decoder().decode(encode_headers(pairs), raw=True)] == pairs
