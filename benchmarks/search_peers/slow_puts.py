"""A proxy before a store whose every PUT takes longer: the answer is held back, all else goes through as it comes."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

HOST: Final = "127.0.0.1"
READ_BYTES: Final = 1 << 16
START_S: Final = 10.0


@dataclass(slots=True)
class SlowPuts:
    """The proxy.

    Args:
        target_port: of the store, on this machine.
        delay_s: how long the answer to a PUT is held back.
        port: where it listens, once it does.
        num_puts: answers held back until now.
    """

    target_port: int
    delay_s: float
    port: int = 0
    num_puts: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection: HTTP/1.1 without pipelining, so that requests and answers take turns."""
        connection = _Connection(self)
        with suppress(ConnectionError):
            store_reader, store_writer = await asyncio.open_connection(HOST, self.target_port)
            ways = (_copy(reader, store_writer, connection.asked), _copy(store_reader, writer, connection.answered))
            await asyncio.gather(*map(asyncio.create_task, ways), return_exceptions=True)
        writer.close()


@dataclass(slots=True)
class _Connection:
    """Whose turn it is: the first bytes after an answer begin a request and tell its method."""

    proxy: SlowPuts
    is_answering: bool = True
    is_put: bool = False

    def asked(self, data: bytes) -> float:
        if self.is_answering:
            self.is_answering, self.is_put = False, data.startswith(b"PUT ")
        return 0.0

    def answered(self, data: bytes) -> float:
        is_put, self.is_answering, self.is_put = self.is_put, True, False
        self.proxy.num_puts += is_put
        return self.proxy.delay_s * is_put


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: Callable[[bytes], float]) -> None:
    """Pass bytes on, each after its delay, until the sender has no more; the receiver is told."""
    try:
        while data := await reader.read(READ_BYTES):
            await asyncio.sleep(delay_s(data))
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@dataclass(slots=True)
class _Running:
    loop: asyncio.AbstractEventLoop | None = None
    stopped: asyncio.Event | None = None
    listens: threading.Event = field(default_factory=threading.Event)


async def _serve(proxy: SlowPuts, running: _Running) -> None:
    running.loop, running.stopped = asyncio.get_running_loop(), asyncio.Event()
    server = await asyncio.start_server(proxy.handle, HOST, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    running.listens.set()
    await running.stopped.wait()
    server.close()


@contextmanager
def slow_puts(target_port: int, delay_s: float) -> Iterator[SlowPuts]:
    """Run a proxy in a thread of its own while the block runs."""
    proxy, running = SlowPuts(target_port, delay_s), _Running()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(proxy, running)), daemon=True)
    thread.start()
    assert running.listens.wait(START_S), "a free port is always there"
    assert running.loop is not None
    assert running.stopped is not None
    try:
        yield proxy
    finally:
        running.loop.call_soon_threadsafe(running.stopped.set)
        thread.join()
