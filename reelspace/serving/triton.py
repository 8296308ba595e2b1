"""A real Triton server as a child process: free ports on the loopback interface, ready when its models answer."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import httpx

from reelspace.core.errors import ReelspaceError, ServerUnavailable, SettingError
from reelspace.core.processes import listens
from reelspace.serving.keeper import keeper_command
from reelspace.serving.probe import probe_request
from reelspace.serving.runtime import BACKENDS, TritonRuntime
from reelspace.serving.signatures import signature_of_config

HOST: Final = "127.0.0.1"
START_TIMEOUT_S: Final = 60.0
READY_TIMEOUT_S: Final = 1.0
PROBE_TIMEOUT_S: Final = 10.0
EXIT_TIMEOUT_S: Final = 5
GRACE_S: Final = 8.0
NUM_PORT_TRIES: Final = 3
SHARED_MEMORY_BYTES: Final = 4 << 20
PORT_TAKEN: Final = "(?i)already in use"


class PortTaken(ServerUnavailable):
    """Another process took a port between its choice and its use."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one server on 127.0.0.1."""

    http: int
    grpc: int
    metrics: int

    @classmethod
    def free(cls) -> "Ports":
        """Ask the kernel for free ports, all held until the last is known."""
        sockets = [socket.socket() for _ in range(3)]
        try:
            for one in sockets:
                one.bind((HOST, 0))
            return cls(*(int(one.getsockname()[1]) for one in sockets))
        finally:
            for one in sockets:
                one.close()


class TritonProcess:
    """A running Triton server; it ends with `stop`, and with the process that started it, however that ends."""

    def __init__(self, keeper: "subprocess.Popen[bytes]", ports: Ports, log_path: Path) -> None:
        self._keeper = keeper
        self._ports = ports
        self._log_path = log_path
        self._drops_log = False
        self._client = httpx.Client(base_url=self.http_url, timeout=PROBE_TIMEOUT_S, trust_env=False)

    @classmethod
    def start(
        cls,
        repositories: Sequence[Path | str],
        models: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        log_path: Path | None = None,
        backends: Path = BACKENDS,
        timeout_s: float = START_TIMEOUT_S,
        at: "tuple[str, Ports] | None" = None,
    ) -> "TritonProcess":
        """Start a server, load the models, and return when each has answered a real request.

        Args:
            repositories: directories or s3://bucket/prefix, with REELSPACE_S3_ENDPOINT and keys in the environment.
            models: names to load; others of the repositories stay unloaded.
            environment: variables set for the server and its models, beside this process's own.
            log_path: where the server's output goes; a temporary file if None, kept only when the start fails.
            backends: directory of our own backends, <name>/model.py each.
            at: address to listen on, with 127.0.0.1 among what it covers, and the ports; free ports of 127.0.0.1 if None.

        Raises:
            SettingError: a part of Triton is missing on this machine; the line names what to install.
            ServerUnavailable: it ended, or a model did not answer within timeout_s; the line quotes the log.
        """
        variables = dict(os.environ) | dict(environment or {})
        for repository in repositories:
            if not str(repository).startswith("s3://") and not Path(repository).is_dir():
                raise SettingError(f"model repository {repository}: expected a directory or s3://bucket/prefix")
        places = [repository_argument(repository, variables) for repository in repositories]
        log = log_path or Path(tempfile.mkstemp(prefix="reelspace-triton-", suffix=".log")[1])
        for attempt in range(NUM_PORT_TRIES if at is None else 1):
            server = cls._spawn(places, models, variables, log, backends, at or (HOST, Ports.free()))
            try:
                server._wait_until_ready(models, time.monotonic() + timeout_s)
                server._drops_log = log_path is None
                return server
            except PortTaken:
                server.stop()
                if at is not None or attempt + 1 == NUM_PORT_TRIES:
                    raise
            except BaseException:
                server.stop()
                raise
        raise AssertionError("unreachable: the last try returns or raises")

    @classmethod
    def _spawn(
        cls,
        places: Sequence[str],
        models: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        backends: Path,
        at: "tuple[str, Ports]",
    ) -> "TritonProcess":
        directory = Path(tempfile.mkdtemp(prefix="reelspace-triton-"))
        try:
            runtime = TritonRuntime.prepare(directory, backends)
        except BaseException:
            shutil.rmtree(directory)
            raise
        command = keeper_command(
            owner=os.getpid(),
            grace_s=GRACE_S,
            directory=directory,
            shared_memory=directory.name,
            server=_server_command(runtime, at, places, models, directory.name),
        )
        with log.open("wb") as output:
            keeper = subprocess.Popen(
                command,
                env=runtime.environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return cls(keeper, at[1], log)

    def __enter__(self) -> "TritonProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def http_port(self) -> int:
        """Port of the V2 protocol over HTTP on 127.0.0.1."""
        return self._ports.http

    @property
    def grpc_port(self) -> int:
        """Port of the V2 protocol over gRPC on 127.0.0.1."""
        return self._ports.grpc

    @property
    def metrics_port(self) -> int:
        """Port of the Prometheus metrics on 127.0.0.1."""
        return self._ports.metrics

    @property
    def http_url(self) -> str:
        """Address of the V2 protocol over HTTP."""
        return f"http://{HOST}:{self._ports.http}"

    @property
    def grpc_address(self) -> str:
        """host:port of the V2 protocol over gRPC."""
        return f"{HOST}:{self._ports.grpc}"

    @property
    def log_path(self) -> Path:
        """File with the server's output."""
        return self._log_path

    @property
    def pid(self) -> int:
        """Process id of the keeper, whose child the server is."""
        return self._keeper.pid

    def stop(self) -> None:
        """End the server: SIGTERM, SIGKILL when it does not end in time; returns when no process of it is left."""
        self._client.close()
        self._keeper.terminate()
        self._keeper.wait()
        if self._drops_log:
            self._log_path.unlink(missing_ok=True)

    @property
    def has_ended(self) -> bool:
        """Tell whether the server has ended by itself."""
        return self._keeper.poll() is not None

    def ready_models(self) -> list[str]:
        """Name the models that the server calls ready; ServerUnavailable if it says nothing."""
        found = self._checked(self._client.post("/v2/repository/index", json={"ready": True}), "the list of models").json()
        return sorted({str(one["name"]) for one in found})

    def load(self, model: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Load a model, or its newest version; the old version serves until the new one is ready, or stays if it fails."""
        self._control(model, "load", timeout_s)

    def unload(self, model: str) -> None:
        """Unload a model."""
        self._control(model, "unload")

    def probe(self, model: str) -> None:
        """Make a model answer a real request; ServerUnavailable if it does not."""
        signature = signature_of_config(self._checked(self._client.get(f"/v2/models/{model}/config"), f"model {model}").json())
        message = probe_request(signature)
        self._checked(
            self._client.post(f"/v2/models/{model}/infer", content=message.body, headers=message.headers), f"a probe of model {model}"
        )

    def _control(self, model: str, action: str, timeout_s: float = START_TIMEOUT_S) -> None:
        self._checked(self._client.post(f"/v2/repository/models/{model}/{action}", timeout=timeout_s), f"{action} of model {model}")

    def _checked(self, response: httpx.Response, what: str) -> httpx.Response:
        if response.status_code != httpx.codes.OK:
            raise ServerUnavailable(f"{what} failed in Triton: {_one_line(response.text)}; its log is {self._log_path}")
        return response

    def _wait_until_ready(self, models: Sequence[str], deadline: float) -> None:
        # The metrics start after the server calls itself ready; without their port it complains, and goes on all the same.
        while not (self._says_ready() and (listens(self._keeper.pid, self._ports.metrics) or self._port_was_taken())):
            if self._keeper.poll() is not None:
                raise self._end_error()
            if time.monotonic() > deadline:
                raise ServerUnavailable(f"Triton did not become ready in time; its log is {self._log_path}")
            time.sleep(0.02)
        if self._port_was_taken():
            raise self._end_error()
        for model in models:
            self.probe(model)

    def _port_was_taken(self) -> bool:
        return re.search(PORT_TAKEN, self._log_path.read_text(errors="replace")) is not None

    def _says_ready(self) -> bool:
        try:
            # A stranger on the port may accept and never answer.
            return self._client.get("/v2/health/ready", timeout=READY_TIMEOUT_S).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _end_error(self) -> ReelspaceError:
        if self._port_was_taken():
            return PortTaken(f"a port of Triton was taken by another process; its log is {self._log_path}")
        last = last_complaint(self._log_path.read_text(errors="replace")) or f"exit code {self._keeper.returncode}"
        return ServerUnavailable(f"Triton ended while starting: {last}; its log is {self._log_path}")


def last_complaint(log: str) -> str:
    """Give the line of a server's log that says why it ended: its own `error:`, or else the last line of error level."""
    lines = [
        line
        for line in log.splitlines()
        if re.match(r"E\d{4} |error:|.*error while loading|\w*Error:", line) and "CudaDriverHelper" not in line
    ]
    own = [line for line in lines if line.startswith("error:")]
    return _one_line((own or lines or [""])[-1])


def repository_argument(repository: Path | str, environment: Mapping[str, str]) -> str:
    """Give a repository's address in Triton's form, in which an S3 endpoint stands inside the address."""
    address = str(repository)
    endpoint = environment.get("REELSPACE_S3_ENDPOINT", "")
    if not address.startswith("s3://"):
        return str(Path(address).resolve())
    return f"s3://{endpoint}/{address.removeprefix('s3://')}" if endpoint else address


def _server_command(
    runtime: TritonRuntime, at: "tuple[str, Ports]", places: Sequence[str], models: Sequence[str], shared_memory: str
) -> list[str]:
    host, ports = at
    return [
        str(runtime.binary),
        *(f"--model-repository={place}" for place in places),
        *(f"--load-model={model}" for model in models),
        f"--backend-directory={runtime.backends}",
        f"--cache-directory={runtime.caches}",
        "--model-control-mode=explicit",
        "--disable-auto-complete-config",
        f"--backend-config=python,shm-default-byte-size={SHARED_MEMORY_BYTES}",
        f"--backend-config=python,shm-region-prefix-name={shared_memory}-",
        f"--http-address={host}",
        f"--grpc-address={host}",
        f"--metrics-address={host}",
        f"--http-port={ports.http}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-port={ports.metrics}",
        f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
        "--allow-gpu-metrics=false",
    ]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]
