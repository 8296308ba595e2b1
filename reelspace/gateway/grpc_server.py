"""The gRPC server of the gateway: connections of HTTP/2 on the gateway's own event loop."""

import asyncio
import socket
import ssl
from typing import Any, Final

from reelspace.gateway.http2.application import Application
from reelspace.gateway.http2.connection import Connection, Load
from reelspace.gateway.http2.settings import Http2Settings

SWEEP_S: Final = 1.0
HANDSHAKE_S: Final = 10.0
DONE_CHECK_S: Final = 0.02


class GrpcServer:
    """Serves an application on a listening socket, from `start` to `stop`, in the running event loop."""

    def __init__(self, application: Application[Any], settings: Http2Settings) -> None:
        self._application = application
        self._settings = settings
        self._load = Load()
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Begin to take connections; with `tls` no others than those that speak it."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._application, self._settings, self._load),
            sock=listener,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else HANDSHAKE_S,
        )
        self._sweeping = loop.create_task(self._sweep())

    async def stop(self, grace_s: float) -> None:
        """Take no more connections and calls, wait for those that run, and close."""
        assert self._server is not None, "started before"
        assert self._sweeping is not None, "started before"
        self._server.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        for connection in list(self._load.connections):
            connection.leave()
        while self._load.connections and loop.time() < deadline:
            await asyncio.sleep(DONE_CHECK_S)
        for connection in list(self._load.connections):
            connection.abort()
        self._sweeping.cancel()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            for connection in list(self._load.connections):
                connection.sweep(loop.time())
