"""The gateway's server process: one port, one line when it answers, a clean end on SIGTERM and SIGINT."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator

import orjson
import uvicorn
import uvloop
from fastapi import FastAPI

from reelspace.core.errors import UserError
from reelspace.gateway.settings import GatewaySettings


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers: those raise the signal again at the end, and a clean end is exit code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `serve_until_signalled`."""
        yield


def serve(app: FastAPI, settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT; prints {"event": "ready", "url", "pid"} on stdout once requests are answered.

    Raises:
        UserError: the port is taken, or may not be opened.
    """
    with _listening(settings.host, settings.port) as listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_until_signalled(app, settings, listener))


async def _serve_until_signalled(app: FastAPI, settings: GatewaySettings, listener: socket.socket) -> None:
    grace_s = max(1, round(settings.shutdown_s))
    server = Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on", timeout_graceful_shutdown=grace_s))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: setattr(server, "should_exit", True))
    serving = loop.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.005)
    if server.started:
        host, port = listener.getsockname()[:2]
        sys.stdout.write(orjson.dumps({"event": "ready", "url": f"http://{host}:{port}", "pid": os.getpid()}).decode() + "\n")
        sys.stdout.flush()
    await serving


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=2048)
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port, 0 takes a free one") from error
