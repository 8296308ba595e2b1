"""Every server of one `reelspace search serve`: gateway processes, and the Tritons behind them, if there are any."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Final

import orjson

from reelspace.core.errors import ServerUnavailable, UserError
from reelspace.core.local_store import LocalStore
from reelspace.core.log import log
from reelspace.core.processes import child, stop
from reelspace.core.settings import read
from reelspace.core.store import Store, open_store
from reelspace.gateway.process import run
from reelspace.gateway.server import port_error
from reelspace.gateway.settings import GatewaySettings
from reelspace.search.scheduling.repository import publish_followed
from reelspace.search.shared_directory import shared_directory
from reelspace.search.storage.known import read_known
from reelspace.search.storage.layout import Collection, collection_key, read_file, shard_model
from reelspace.search.storage.probe import probe_store
from reelspace.serving.triton import TritonProcess

READY_S: Final = 120.0
LOOK_S: Final = 0.5
PAUSE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Entrance:
    """Who is let in, and how; each as the setting of the gateway of that name."""

    keys_file: str | None = None
    without_keys: bool = False
    tls_cert: str | None = None
    tls_key: str | None = None
    admin_port: int | None = None
    access_log: bool = False


@dataclass(frozen=True, slots=True)
class ServePlan:
    """What is started: gateway processes on the same ports, and Triton servers with every shard; none: shards are in the gateways."""

    store: str
    host: str
    port: int
    grpc_port: int
    num_processes: int = 1
    num_tritons: int = 0
    entrance: Entrance = Entrance()


def serve_search(plan: ServePlan) -> None:
    """Serve a store until SIGTERM or Ctrl-C; prints {"event": "ready", "url", "grpc", "pid"} once all of it answers.

    Raises:
        SettingError: the store does not keep the conditions that the log is built on.
        OutputOccupied: a process has the directory open for itself.
        UserError: a port is taken.
        ServerUnavailable: a Triton or a gateway did not start.
    """
    store = open_store(plan.store)
    probe_store(store)
    with ExitStack() as stack:
        stack.enter_context(shared_directory(store))
        tritons = _started_tritons(store, plan.num_tritons, stack)
        settings = _gateway_settings(store, plan, tritons)
        if plan.num_processes == 1:
            run(settings)
        else:
            _run_several(settings, plan.num_processes, stack)


def _started_tritons(store: Store, num: int, stack: ExitStack) -> list[TritonProcess]:
    if not num:
        return []
    if isinstance(store, LocalStore):
        (store.root / "repository").mkdir(exist_ok=True)
    models, environment = served_models(store), {"REELSPACE_STORE": store.url}
    repositories = [f"{store.url}/repository"]
    return [stack.enter_context(TritonProcess.start(repositories, models, environment)) for _ in range(num)]


def served_models(store: Store) -> list[str]:
    """Name the models of everything in the store that has a name; those of shards are written first."""
    known = read_known(store)
    models = [] if known.promoted is None else list(known.promoted.encoders)
    for full_name in known.full_names():
        collection = read_file(store, Collection, collection_key(full_name))
        publish_followed(store, collection)
        models += [shard_model(full_name, shard) for shard in range(collection.num_shards)]
    return models


def _gateway_settings(store: Store, plan: ServePlan, tritons: Sequence[TritonProcess]) -> GatewaySettings:
    where = {"store": store.url, "backend": "local", "host": plan.host, "port": plan.port, "grpc_port": plan.grpc_port}
    common = read(GatewaySettings, where | asdict(plan.entrance))
    if common.admin_port is not None and plan.num_processes != 1:
        raise UserError("one port for operators is of one process: start one at a time, or leave --admin-port out")
    if not tritons:
        return common
    return common.model_copy(
        update={
            "backend": "triton",
            "triton_grpc": tritons[0].grpc_address,
            "triton_http": tritons[0].http_url.removeprefix("http://"),
            "triton_replicas": tuple(triton.grpc_address for triton in tritons[1:]),
        }
    )


def _run_several(settings: GatewaySettings, num_processes: int, stack: ExitStack) -> None:
    """Run gateway processes on the same ports; one that ends by itself is started again."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    http, grpc = (stack.enter_context(_held(settings.host, port)) for port in (settings.port, settings.grpc_port or 0))
    settings = settings.model_copy(update={"port": http, "grpc_port": grpc, "share_ports": True})
    gateways = [_start(settings) for _ in range(num_processes)]
    stack.callback(_stop_all, gateways)
    for gateway in gateways:
        _wait_until_ready(gateway)
    scheme = "http" if settings.tls_cert is None else "https"
    _tell({"event": "ready", "url": f"{scheme}://{settings.host}:{http}", "grpc": f"{settings.host}:{grpc}"})
    while not stopped.wait(LOOK_S):
        for place, gateway in enumerate(gateways):
            if gateway.poll() is not None:
                log("gateway_ended", exit_code=gateway.returncode, pid=gateway.pid)
                time.sleep(PAUSE_S)
                _close_pipe(gateway)
                gateways[place] = _start(settings)


@contextmanager
def _held(host: str, port: int) -> Iterator[int]:
    """Keep a port for processes that share it, and give its number; a socket that does not listen gets no connections."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            holder.bind((host, port))
        except OSError as error:
            raise port_error(host, port, error) from error
        yield int(holder.getsockname()[1])


def words_of(settings: GatewaySettings) -> list[str]:
    """Give the words of a gateway process's command line that stand for settings of `reelspace search serve`."""
    options = {"store": settings.store, "backend": settings.backend, "host": settings.host, "port": settings.port}
    options |= {"grpc-port": settings.grpc_port, "triton-grpc": settings.triton_grpc, "triton-http": settings.triton_http}
    options |= {"keys-file": settings.keys_file, "tls-cert": settings.tls_cert, "tls-key": settings.tls_key}
    flags = {"share-ports": settings.share_ports, "without-keys": settings.without_keys, "access-log": settings.access_log}
    flags["without-controller"] = settings.without_controller
    words = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    replicas = ["--triton-replicas", *settings.triton_replicas] if settings.triton_replicas else []
    return [*words, *replicas, *(f"--{name}" for name, given in flags.items() if given)]


def _start(settings: GatewaySettings) -> "subprocess.Popen[bytes]":
    return child([sys.executable, "-m", "reelspace.gateway", *words_of(settings)], stdout=subprocess.PIPE)


def _wait_until_ready(gateway: "subprocess.Popen[bytes]") -> None:
    timer = threading.Timer(READY_S, gateway.kill)
    timer.start()
    line = gateway.stdout.readline() if gateway.stdout is not None else b""
    timer.cancel()
    if not line:
        raise ServerUnavailable(f"a gateway did not become ready within {READY_S:.0f} s; its own lines say why")


def _stop_all(gateways: "Sequence[subprocess.Popen[bytes]]") -> None:
    for gateway in gateways:
        gateway.terminate()
    for gateway in gateways:
        stop(gateway)
        _close_pipe(gateway)


def _close_pipe(gateway: "subprocess.Popen[bytes]") -> None:
    if gateway.stdout is not None:
        gateway.stdout.close()


def _tell(line: dict[str, object]) -> None:
    sys.stdout.write(orjson.dumps(line | {"pid": os.getpid()}).decode() + "\n")
    sys.stdout.flush()
