"""The gateway's server process: a port, and one for gRPC, one line when it answers, a clean end on SIGTERM and SIGINT."""

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

    With a port for gRPC the line has its address, too, under "grpc", and the application finds the socket in `app.state.grpc_listener`.

    Raises:
        UserError: a port is taken, or may not be opened.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listening(settings, settings.port))
        if settings.grpc_port is not None:
            app.state.grpc_listener = stack.enter_context(_listening(settings, settings.grpc_port))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
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
        ready = {"event": "ready", "url": f"http://{_address(listener)}", "pid": os.getpid()}
        if app.state.grpc_listener is not None:
            ready["grpc"] = _address(app.state.grpc_listener)
        sys.stdout.write(orjson.dumps(ready).decode() + "\n")
        sys.stdout.flush()
    await serving


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"{host}:{port}"


def _listening(settings: GatewaySettings, port: int) -> socket.socket:
    try:
        return socket.create_server((settings.host, port), backlog=2048, reuse_port=settings.share_ports)
    except OSError as error:
        raise port_error(settings.host, port, error) from error


def port_error(host: str, port: int, error: OSError) -> UserError:
    """Tell that a port cannot be listened on."""
    return UserError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another port, 0 takes a free one")
