"""The gateway's server process: its ports, one line when it answers, a clean end on SIGTERM and SIGINT."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import orjson
import uvicorn
import uvloop
from fastapi import FastAPI

from reelspace.core.errors import UserError
from reelspace.gateway.followed_files import following
from reelspace.gateway.http1 import BoundedHttp
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.tls import Tls, open_tls
from reelspace.search.compute.freed_memory import share_heaps


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers: those raise the signal again at the end, and a clean end is exit code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `serve_until_signalled`."""
        yield


def serve(app: FastAPI, settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT; prints {"event": "ready", "url", "pid"} on stdout once requests are answered.

    With a port for gRPC the line has its address, too, under "grpc", and the application finds the socket in `app.state.grpc_listener`;
    with one for operators it has its address under "admin". At a signal the gateway is unready at once, takes nothing more `drain_s`
    later, and ends when what runs is answered; a second signal leaves that wait out.

    Raises:
        UserError: a port is taken, or may not be opened.
        SettingError: the files of TLS cannot be used.
    """
    sys.setswitchinterval(SWITCH_S)
    share_heaps()
    with contextlib.ExitStack() as stack:
        tls = None if settings.tls_cert is None or settings.tls_key is None else open_tls(Path(settings.tls_cert), Path(settings.tls_key))
        opened = _Opened(
            stack.enter_context(_listening(settings, settings.port)),
            None if settings.grpc_port is None else stack.enter_context(_listening(settings, settings.grpc_port)),
            None if settings.admin_port is None else stack.enter_context(_listening(settings, settings.admin_port)),
            tls,
        )
        app.state.grpc_listener, app.state.grpc_tls = opened.grpc, None if tls is None else tls.grpc
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        runner.run(_serve_until_signalled(app, settings, opened))


SWITCH_S: Final = 0.0002
"""So long may a thread that reads a large write keep the interpreter from the event loop; Python's own 5 ms are many searches."""


@dataclass(frozen=True, slots=True)
class _Opened:
    http: socket.socket
    grpc: socket.socket | None
    admin: socket.socket | None
    tls: Tls | None

    def ready_line(self) -> dict[str, object]:
        scheme = "http" if self.tls is None else "https"
        line: dict[str, object] = {"event": "ready", "url": f"{scheme}://{_address(self.http)}", "pid": os.getpid()}
        others = {"grpc": self.grpc, "admin": self.admin}
        return line | {name: _address(listener) for name, listener in others.items() if listener is not None}


async def _serve_until_signalled(app: FastAPI, settings: GatewaySettings, opened: _Opened) -> None:
    server = _server(app, settings, "on", None if opened.tls is None else opened.tls.http)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end, app, server, settings.drain_s)
    async with following(None if opened.tls is None else opened.tls.files), _serving_operators(app, settings, opened.admin):
        serving = loop.create_task(server.serve(sockets=[opened.http]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.005)
        if server.started:
            # What was made until now stays, and need not be looked at again by every whole collection of garbage.
            gc.collect()
            gc.freeze()
            sys.stdout.write(orjson.dumps(opened.ready_line()).decode() + "\n")
            sys.stdout.flush()
        await serving


def _server(app: FastAPI, settings: GatewaySettings, lifespan: Literal["on", "off"], tls: ssl.SSLContext | None) -> Server:
    grace_s = max(1, round(settings.shutdown_s))
    config = uvicorn.Config(
        app, http=BoundedHttp, log_level="warning", access_log=False, lifespan=lifespan, timeout_graceful_shutdown=grace_s
    )
    if tls is not None:
        config.ssl_context_factory = lambda _config, _default: tls
    return Server(config)


def _end(app: FastAPI, server: Server, drain_s: float) -> None:
    """Be unready, and then end; at once when told a second time."""
    wait_s = 0.0 if app.state.health.is_draining else drain_s
    app.state.health.drain()
    asyncio.get_running_loop().call_later(wait_s, setattr, server, "should_exit", True)


@asynccontextmanager
async def _serving_operators(app: FastAPI, settings: GatewaySettings, listener: socket.socket | None) -> AsyncIterator[None]:
    """Answer the operators from before the gateway's start until after its end."""
    if listener is None:
        yield
        return
    server = _server(app.state.operators, settings, "off", None)
    serving = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
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
