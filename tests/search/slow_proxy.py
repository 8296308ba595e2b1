"""A TCP proxy on this machine that holds answers back for a while: a server that is slow without doing anything."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

CHUNK_BYTES = 1 << 16


class SlowProxy:
    """Passes connections on; what the server sends comes `delay_s` later."""

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self.delay_s = 0.0
        self.address = ""

    async def serve(self, ready: threading.Event, ending: asyncio.Event) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        ready.set()
        await ending.wait()
        server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._server)
        except OSError:
            writer.transport.abort()
            return
        both = (self._pump(reader, server_writer, is_answer=False), self._pump(server_reader, writer, is_answer=True))
        await asyncio.gather(*both)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await reader.read(CHUNK_BYTES):
                if is_answer and self.delay_s:
                    loop.call_later(self.delay_s, _write, writer, data)
                else:
                    _write(writer, data)
        except ConnectionError:
            pass
        if is_answer and self.delay_s:
            loop.call_later(self.delay_s, writer.close)  # after what came before it
        else:
            writer.close()


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():
        writer.write(data)


@contextmanager
def slow_proxy(address: str) -> Iterator[SlowProxy]:
    """Stand before a server while the block runs."""
    host, _, port = address.rpartition(":")
    proxy, ready = SlowProxy(host, int(port)), threading.Event()
    loop, ending = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(proxy.serve(ready, ending)), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join(10)
        loop.close()
