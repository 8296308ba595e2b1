"""The 25 kinds of requests that a newcomer gets wrong, as they are sent over HTTP and gRPC, and how each is answered.

Kinds 23 to 25 are what operators get wrong in a model repository: `tests/triton/test_bad_repositories.py` has them.
"""

import gzip
import json
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
from tritonclient.grpc import service_pb2

from .served import Connected, X, x_message

HEAD_LENGTH = "Inference-Header-Content-Length"
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
SLOW_RAW = struct.pack("<2f", 99, 1)
CHUNK = b"6\r\n      \r\n"


@dataclass(frozen=True)
class Bad:
    """One bad request of a face; `send` gives the status over HTTP (of its code over gRPC), and the message.

    Attributes:
        field: what the message must begin with.
        is_heavy: sends so much, or waits so long, that a few are enough among thousands.
        needs_slow: it is bad only where the model takes longer than the client waits.
    """

    number: int
    name: str
    status: int
    field: str
    send: Callable[[Connected], tuple[int, str]]
    is_heavy: bool = False
    needs_slow: bool = False


@dataclass
class Table:
    """The kinds by face, as they are written below."""

    http: list[Bad] = field(default_factory=list)
    grpc: list[Bad] = field(default_factory=list)

    def over_http(
        self,
        number: int,
        name: str,
        status: int,
        field: str,
        body: object = None,
        *,
        path: str = "doubling/infer",
        headers: dict[str, str] | None = None,
    ) -> None:
        address = path if path.startswith("/") else f"/v2/models/{path}"

        content = body if isinstance(body, bytes) else json.dumps({"inputs": [X]} if body is None else body).encode()

        def send(served: Connected) -> tuple[int, str]:
            return told(served.http.post(address, content=content, headers=headers))

        self.http.append(Bad(number, name, status, field, send))

    def over_grpc(
        self, number: int, name: str, status: int, field: str, message: Any, *, method: str = "ModelInfer", heavy: bool = False, **more: Any
    ) -> None:
        fixed = b"" if callable(message) else message if isinstance(message, bytes) else message.SerializeToString()

        def send(served: Connected) -> tuple[int, str]:
            return heard(served.call(method, message() if callable(message) else fixed, **more))

        self.grpc.append(Bad(number, name, status, field, send, heavy))


def told(response: httpx.Response) -> tuple[int, str]:
    """Give the status and the message; the body names the field beside it."""
    body = response.json()
    assert response.status_code < 400 or body["error"].startswith(body["field"]), body
    return response.status_code, body.get("error", "")


def heard(answer: "bytes | grpc.RpcError") -> tuple[int, str]:
    if isinstance(answer, bytes):
        return 200, ""
    return next((status for status, code in CODES.items() if code == answer.code()), 599), answer.details()


def part(**changes: object) -> dict[str, Any]:
    return {"inputs": [{**X, **changes}]}


def text(data: object) -> dict[str, Any]:
    return {"inputs": [{"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": data}]}


def raw_body(head: dict[str, Any], raw: bytes, length: str | None = None) -> tuple[bytes, dict[str, str]]:
    encoded = json.dumps(head).encode()
    return encoded + raw, {HEAD_LENGTH: length or str(len(encoded))}


def text_message(raw: bytes) -> Any:
    message = service_pb2.ModelInferRequest(model_name="text_encoder", raw_input_contents=[raw])
    message.inputs.add(name="TEXT", datatype="BYTES", shape=[1, 1])
    return message


def changed(change: Callable[[Any], object]) -> Any:
    message = x_message()
    change(message)
    return message


def named(name: str) -> Callable[[Any], None]:
    return lambda message: setattr(message.inputs[0], "name", name)


def at_socket(served: Connected, pieces: Sequence[bytes], *, leaves: bool = False) -> tuple[int, str]:
    """Send bytes as they are; give the answer, or nothing where we leave before it."""
    with socket.create_connection((urlsplit(served.url).hostname, urlsplit(served.url).port), timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
        if leaves:
            return 400, ""
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.rstrip().endswith(b"}"):
            came = connection.recv(65_536)
            if not came:
                break
            answer += came
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


def start(headers: str) -> bytes:
    return f"POST /v2/models/doubling/infer HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n".encode()


def tiny_chunks(number: int) -> Callable[[Connected], tuple[int, str]]:
    def send(served: Connected) -> tuple[int, str]:
        return at_socket(served, [start("Transfer-Encoding: chunked"), CHUNK * number, b"0\r\n\r\n"])

    return send


def nested(depth: int) -> Any:
    data: Any = [1, 2]
    for _ in range(depth):
        data = [data]
    return data


def about_models(table: Table) -> None:
    """Kinds 1 to 3: models, versions, names of inputs."""
    table.over_http(1, "unknown model", 404, "model", path="absent/infer")
    table.over_http(1, "a model of shards", 404, "model", path="shard-videos-0/infer")
    table.over_grpc(1, "unknown model", 404, "model", x_message(model_name="absent"))
    table.over_grpc(1, "no model", 404, "model", x_message(model_name=""))
    for version in ("7", "01", "-1", "latest", "1" * 40):
        table.over_http(2, f"version {version[:9]}", 404, "version", path=f"doubling/versions/{version}/infer")
        table.over_grpc(2, f"version {version[:9]}", 404, "version", x_message(model_version=version))
    table.over_http(3, "wrong input", 400, "inputs[0].name", part(name="Z"))
    table.over_http(3, "no input", 400, "inputs", {"inputs": []})
    table.over_http(3, "one input more", 400, "inputs", {"inputs": [X, {**X, "name": "Z"}]})
    table.over_http(3, "the same input twice", 400, "inputs", {"inputs": [X, X]})
    table.over_http(3, "a name that is none", 400, "inputs[0].name", part(name=["X"]))
    table.over_http(3, "a misspelt key", 400, "inputs[0].dta", part(dta=[1, 2]))
    table.over_grpc(3, "wrong input", 400, "inputs[0].name", changed(named("Z")))
    table.over_grpc(3, "no input", 400, "inputs", service_pb2.ModelInferRequest(model_name="doubling"))
    table.over_grpc(
        3, "the same input twice", 400, "inputs", changed(lambda message: message.inputs.add(name="X", datatype="FP32", shape=[1, 2]))
    )


def about_shapes(table: Table) -> None:
    """Kinds 4 to 8, 10 and 11: datatypes, shapes and how much there is."""
    table.over_http(4, "another datatype", 400, "inputs[0].datatype", part(datatype="INT64"))
    table.over_http(4, "no datatype", 400, "inputs[0].datatype", part(datatype=None))
    table.over_http(4, "texts as numbers", 400, "inputs[0].data", part(data=["1", "2"]))
    table.over_http(4, "booleans as numbers", 400, "inputs[0].data", part(data=[True, 1]))
    table.over_grpc(
        4, "another datatype", 400, "inputs[0].datatype", changed(lambda message: setattr(message.inputs[0], "datatype", "FP64"))
    )
    other = x_message(None)
    other.inputs[0].contents.fp64_contents.extend([1, 2])
    table.over_grpc(4, "doubles as floats", 400, "inputs[0].contents.fp64_contents", other)
    shapes: list[tuple[int, str, list[int]]] = [
        (5, "a rank less", [2]),
        (5, "a rank more", [1, 2, 1]),
        (5, "no rank", []),
        (6, "negative dimension", [1, -2]),
        (6, "negative batch", [-1, 2]),
        (7, "a product beyond 2^64", [2**62, 2**62]),
        (7, "a product of 2^64, which wraps to 0", [2**32, 2**32]),
        (10, "batch 0", [0, 2]),
        (11, "batch above the largest", [9, 2]),
    ]
    for number, name, shape in shapes:
        table.over_http(number, name, 400, "inputs[0].shape", part(shape=shape))
        table.over_grpc(number, name, 400, "inputs[0].shape", x_message(shape=shape))
    table.over_http(7, "a dimension beyond 64 bits", 400, "inputs[0].shape", part(shape=[1, 2**70]))
    seven = struct.pack("<7f", *range(7))
    table.over_http(8, "8 declared, 7 given", 400, "inputs[0].data", part(shape=[4, 2], data=list(range(7))))
    table.over_http(8, "8 declared, 7 given, nested", 400, "inputs[0].data", part(shape=[4, 2], data=[[1, 2], [3, 4], [5, 6], [7]]))
    head = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [4, 2], "parameters": {"binary_data_size": 28}}]}
    body, headers = raw_body(head, seven)
    table.over_http(8, "8 declared, 7 given, raw", 400, "inputs[0].parameters.binary_data_size", body, headers=headers)
    table.over_grpc(8, "8 declared, 7 given, raw", 400, "raw_input_contents[0]", x_message(seven, [4, 2]))
    listed = x_message(None, [4, 2])
    listed.inputs[0].contents.fp32_contents.extend(range(7))
    table.over_grpc(8, "8 declared, 7 given", 400, "inputs[0].contents.fp32_contents", listed)
    table.over_grpc(8, "8 declared, none given", 400, "inputs[0].contents.fp32_contents", x_message(None, [4, 2]))


def about_values(table: Table) -> None:
    """Kinds 9 and 19: numbers that are none, bytes that are no words."""
    for name in ("NaN", "Infinity", "-Infinity", "nul"):
        table.over_http(9, name, 400, "body", json.dumps(part()).replace("[1, 2]}", f"[{name}, 2]}}").encode())
    table.over_http(9, "null", 400, "inputs[0].data", part(data=[None, 1]))
    table.over_http(9, "beyond float32", 400, "inputs[0].data", part(data=[1e39, 1]))
    for name, value in (("NaN", float("nan")), ("infinity", float("inf"))):
        raw = struct.pack("<2f", value, 1)
        head = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}]}
        body, headers = raw_body(head, raw)
        table.over_http(9, f"{name}, raw", 400, "inputs[0].data", body, headers=headers)
        table.over_grpc(9, f"{name}, raw", 400, "raw_input_contents[0]", x_message(raw))
        listed = x_message(None)
        listed.inputs[0].contents.fp32_contents.extend([value, 1])
        table.over_grpc(9, name, 400, "inputs[0].contents", listed)
    words = {"a length too long": b"\5\0\0\0ab", "a length cut short": b"\5\0", "a length of 4 GiB": b"\xff" * 8, "NUL": b"\3\0\0\0a\0b"}
    words |= {"no UTF-8": b"\2\0\0\0\xff\xfe", "too many bytes": struct.pack("<I", 20_000) + b"x" * 20_000, "two of them": b"\0" * 8}
    for name, raw in words.items():
        head = {"inputs": [{"name": "TEXT", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": len(raw)}}]}
        body, headers = raw_body(head, raw)
        table.over_http(19, name, 400, "inputs[0].data", body, path="text_encoder/infer", headers=headers)
        table.over_grpc(19, name, 400, "raw_input_contents[0]", text_message(raw))
    table.over_http(19, "NUL in JSON", 400, "inputs[0].data", text(["a\0b"]), path="text_encoder/infer")
    table.over_http(19, "half a surrogate", 400, "body", b'{"inputs": ["\\ud800"]}', path="text_encoder/infer")


def about_sizes(table: Table) -> None:
    """Kinds 12 to 18: too much, too deep, packed, and lengths that lie."""
    declared = start(f"Content-Length: {65 << 20}")
    table.http.append(Bad(12, "65 MB declared", 413, "body", lambda served: at_socket(served, [declared])))
    table.over_http(12, "more than the model can take", 413, "body", b" " * 100_000)
    table.over_grpc(12, "33 MB", 413, "message", zeros, heavy=True)
    table.over_grpc(12, "more than the model can take", 400, "raw_input_contents[0]", x_message(b"\0" * 300_000))
    table.over_http(13, "30,000 numbers for 2", 400, "inputs[0].data", part(data=[0] * 20_000))
    many = x_message(None)
    many.inputs[0].contents.fp32_contents.extend([0] * 30_000)
    table.over_grpc(13, "30,000 numbers for 2", 400, "inputs[0].contents.fp32_contents", many)
    table.over_http(14, "data 120 deep", 400, "inputs[0].data", part(data=nested(120)))
    table.over_http(14, "30,000 open brackets", 400, "body", b"[" * 30_000)
    table.over_http(14, "an object 120 deep", 400, "a", json.loads('{"a":' * 120 + "1" + "}" * 120))
    # Groups in an unknown field: what of a message can be nested at all.
    table.over_grpc(14, "groups 120 deep", 400, "message", b"\x8b\x01" * 120 + b"\x8c\x01" * 120)
    table.over_grpc(14, "no message", 400, "message", b"\xff" * 40)
    table.http.append(Bad(15, "500,000 chunks of six bytes", 413, "body", tiny_chunks(500_000), is_heavy=True))
    table.http.append(Bad(15, "8,000 chunks of six bytes", 400, "body", tiny_chunks(8_000)))
    six = x_message(None, raw_input_contents=[b"sixsix"] * 50_000)
    table.over_grpc(15, "50,000 raw tensors of six bytes", 400, "raw_input_contents", six)
    for name, length in {"no number": "x", "negative": "-1", "longer than the body": "999", "30 digits": "9" * 30}.items():
        body, headers = raw_body(part(), b"", length)
        table.over_http(16, f"head length {name}", 400, HEAD_LENGTH, body, headers=headers)
    body, headers = raw_body(part(), b"", "9")
    table.over_http(16, "head length too short", 400, "body", body, headers=headers)
    body, headers = raw_body(part(), b"rest")
    table.over_http(16, "bytes that belong to nothing", 400, "body", body, headers=headers)
    late = [start("Content-Length: 500"), b'{"inputs"']
    table.http.append(Bad(16, "Content-Length too long", 408, "body", lambda served: at_socket(served, late), is_heavy=True))
    table.over_grpc(16, "raw tensors for one input more", 400, "raw_input_contents", x_message(raw_input_contents=[b"", b"", b""]))
    both = x_message()
    both.inputs[0].contents.fp32_contents.extend([1, 2])
    table.over_grpc(16, "raw and listed at once", 400, "inputs[0].contents", both)
    bomb = gzip.compress(b"\0" * (40 << 20))
    table.over_http(17, "gzip bomb", 400, "Content-Encoding", bomb, headers={"Content-Encoding": "gzip"})
    table.over_grpc(17, "gzip bomb", 400, "message", bomb)
    table.over_grpc(17, "gzip bomb, declared", 413, "message", zeros, heavy=True, compression=grpc.Compression.Gzip)
    table.over_http(18, "100,000 outputs", 413, "body", {"inputs": [X], "outputs": [{"name": "Y"}] * 100_000})
    table.over_http(18, "3,000 outputs", 400, "outputs", {"inputs": [X], "outputs": [{"name": "Y"}] * 3_000})
    table.over_http(18, "an output it has not", 400, "outputs[0].name", {"inputs": [X], "outputs": [{"name": "Z"}]})
    wanted = x_message()
    wanted.outputs.extend([service_pb2.ModelInferRequest.InferRequestedOutputTensor(name="Y")] * 100_000)
    table.over_grpc(18, "100,000 outputs", 400, "outputs", wanted)


@cache
def zeros() -> bytes:
    return b"\0" * (33 << 20)


def about_calls(table: Table) -> None:
    """Kinds 20 to 22: clients that leave, and what only operators may do."""
    half = [start("Content-Length: 80"), b'{"inputs"']
    table.http.append(Bad(20, "gone in the middle", 400, "", lambda served: at_socket(served, half, leaves=True)))
    # These two are good, but for the time they leave: they may reach Triton.
    slow = part(data=[99, 1]) | {"parameters": {"timeout": 1000}}
    late = x_message(SLOW_RAW)
    late.parameters["timeout"].int64_param = 1000
    table.http.append(Bad(20, "1 ms", 408, "timeout", lambda served: told(served.infer(slow)), needs_slow=True))
    table.grpc.append(
        Bad(20, "1 ms", 408, "timeout", lambda served: heard(served.call("ModelInfer", late.SerializeToString())), needs_slow=True)
    )
    for timeout in (0, -1, 10**18, 1.5, "1"):
        table.over_http(20, f"timeout {timeout!r}", 400, "parameters.timeout", part() | {"parameters": {"timeout": timeout}})
    for path in ("repository/models/doubling/load", "repository/models/doubling/unload", "repository/index", "logging", "trace/setting"):
        table.over_http(21, path, 403, "call", path=f"/v2/{path}")
    table.over_http(21, "../ in a model's name", 404, "call", path="..%2Frepository%2Fmodels%2Fdoubling%2Funload/infer")
    table.over_http(21, "an encoded name", 404, "model", path="doubling%00/infer")
    overriding = part() | {"parameters": {"config": "{}"}}
    table.over_http(21, "a configuration of its own", 400, "parameters.config", overriding)
    load = service_pb2.RepositoryModelLoadRequest(model_name="doubling")
    table.over_grpc(21, "load", 403, "call", load, method="RepositoryModelLoad")
    unload = service_pb2.RepositoryModelUnloadRequest(model_name="doubling")
    table.over_grpc(21, "unload", 403, "call", unload, method="RepositoryModelUnload")
    table.over_grpc(21, "../ in a model's name", 404, "model", x_message(model_name="../repository/models/doubling/unload"))
    for kind in ("system", "cuda"):
        table.over_http(22, f"{kind} memory", 403, "call", {"key": "/x", "byte_size": 64}, path=f"/v2/{kind}sharedmemory/region/r/register")
        table.over_grpc(22, f"{kind} memory", 403, "call", b"", method=f"{kind.title()}SharedMemoryRegister")
    region = {"shared_memory_region": "r", "shared_memory_byte_size": 8}
    table.over_http(22, "a region as an input", 400, "inputs[0].parameters.shared_memory_region", part(parameters=region))
    into = {"inputs": [X], "outputs": [{"name": "Y", "parameters": region}]}
    table.over_http(22, "a region as an output", 400, "outputs[0].parameters.shared_memory_region", into)
    mapped = x_message()
    mapped.inputs[0].parameters["shared_memory_region"].string_param = "r"
    table.over_grpc(22, "a region as an input", 400, "inputs[0].parameters.shared_memory_region", mapped)


def table() -> Table:
    """Give every kind that is a request."""
    made = Table()
    for about in (about_models, about_shapes, about_values, about_sizes, about_calls):
        about(made)
    return made


def numbers(rows: Sequence[Bad]) -> Iterator[int]:
    """Give the numbers of kinds that rows have."""
    yield from sorted({row.number for row in rows})
