"""A gateway process in front of some Triton, and ways to ask it as no client library would."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
from tritonclient.grpc import service_pb2

from reelspace.core.processes import child, stop

ROOT = Path(__file__).resolve().parents[2]
SERVICE = "/inference.GRPCInferenceService/"
UNBOUNDED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
X = {"name": "X", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}


@dataclass
class Connected:
    """A gateway that someone runs; `http` and `channel` stay connected."""

    url: str
    grpc_address: str
    http: httpx.Client
    channel: grpc.Channel

    def infer(self, body: object, path: str = "doubling", **headers: str) -> httpx.Response:
        """Ask for an inference over HTTP."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(f"/v2/models/{path}/infer", content=content, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def call(self, method: str, message: bytes, **more: Any) -> "bytes | grpc.RpcError":
        """Call over gRPC; what failed is given, too."""
        try:
            answer: bytes = self.channel.unary_unary(SERVICE + method)(message, **{"timeout": 30} | more)
            return answer
        except grpc.RpcError as error:
            return error


@dataclass
class Served(Connected):
    """A gateway process of ours."""

    process: "subprocess.Popen[bytes]"
    log: Path
    secrets: dict[str, str] = field(default_factory=dict)

    def check_alive(self) -> None:
        """Expect the process to live, to have told of no bug, and to answer both faces."""
        assert self.process.poll() is None
        text = self.log.read_text()
        assert "Traceback" not in text
        assert "request_failed" not in text
        assert self.infer({"inputs": [X]}).json()["outputs"][0]["data"] == [2, 4]
        assert isinstance(self.call("ModelInfer", x_message().SerializeToString()), bytes)

    def lines(self, event: str = "request") -> list[dict[str, Any]]:
        """Give the lines of the access log."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"] == event]


@contextmanager
def connected(url: str, grpc_address: str) -> Iterator[Connected]:
    """Connect with a gateway over both faces."""
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as http, grpc.insecure_channel(grpc_address, UNBOUNDED) as channel:
        yield Connected(url, grpc_address, http, channel)


@contextmanager
def serving(
    folder: Path, triton_http: str, versions: Mapping[str, int | None], keys: Sequence[tuple[str, dict[str, Any]]] = (), **settings: Any
) -> Iterator[Served]:
    """Serve models in a process; versions that are None are Triton's newest.

    Args:
        keys: secret and line of the file of keys, none to let everyone in.
    """
    given = {"store": str(folder / "store"), "backend": "local", "port": 0, "grpc_port": 0}
    given |= {"triton_http": triton_http, "triton_grpc": "127.0.0.1:9", "access_log": True} | settings
    if keys:
        (folder / "keys.json").write_text(json.dumps([line for _, line in keys]))
        given["keys_file"] = str(folder / "keys.json")
    command = [sys.executable, "-m", "tests.serving.gateway_program", json.dumps(given), json.dumps(dict(versions))]
    log = folder / "gateway.log"
    with log.open("wb") as errors:
        process = child(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, log.read_text()
        told = json.loads(line)
        with connected(told["url"], told["grpc"]) as faces:
            secrets = {line["name"]: secret for secret, line in keys}
            yield Served(faces.url, faces.grpc_address, faces.http, faces.channel, process, log, secrets)
    finally:
        stop(process)
        process.stdout.close()


def x_message(raw: bytes | None = b"\0\0\x80?\0\0\0@", shape: Sequence[int] = (1, 2), **more: Any) -> Any:
    """Make the request of X = [[1, 2]], with other fields where they are given."""
    message = service_pb2.ModelInferRequest(**{"model_name": "doubling"} | more)
    message.inputs.add(name="X", datatype="FP32", shape=shape)
    if raw is not None:
        message.raw_input_contents.append(raw)
    return message
