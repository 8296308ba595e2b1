"""Tensors on the wire: the KServe V2 inference protocol, JSON and binary extension, both directions.

A body is a JSON head and, after it, the raw bytes of the tensors that the head marks with `binary_data_size`, in order.
The header Inference-Header-Content-Length gives the head's length; without it the whole body is JSON.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from reelspace.core.errors import UserError

HEAD_LENGTH: Final = "Inference-Header-Content-Length"
JSON_TYPE: Final = "application/json"
BINARY_TYPE: Final = "application/octet-stream"
DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(np.object_),
}
_DATATYPES: Final = {dtype: name for name, dtype in DTYPES.items()}
Tensor = NDArray[Any]


class WireError(UserError):
    """A body that breaks the protocol or a model's signature; `field` names the part, as in `inputs[0].shape`.

    `status` is the HTTP status that it is answered with, `reason` the word it is counted under.
    """

    status: ClassVar[int] = 400
    reason: ClassVar[str] = "refused"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


@dataclass(frozen=True, slots=True)
class Message:
    """A body with the headers that describe it."""

    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A decoded response: who answered, and the tensors by name."""

    model: str
    version: str
    outputs: dict[str, Tensor]
    parameters: dict[str, Any] = field(default_factory=dict)


def datatype_of(tensor: Tensor) -> str:
    """Give the V2 datatype of an array; arrays of objects are BYTES."""
    return _DATATYPES[tensor.dtype]


def encode_request(
    inputs: Mapping[str, Tensor], outputs: Sequence[str] = (), request_id: str | None = None, timeout_us: int | None = None
) -> Message:
    """Write a request with all tensors binary, which also asks for binary outputs (all of them if none is named).

    Args:
        timeout_us: microseconds after which the server may give up.
    """
    head: dict[str, Any] = {"parameters": {"binary_data_output": True}}
    if request_id is not None:
        head["id"] = request_id
    if outputs:
        head = {key: value for key, value in head.items() if key != "parameters"}
        head["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    if timeout_us is not None:
        head["parameters"] = head.get("parameters", {}) | {"timeout": timeout_us}
    return _encode(head, "inputs", inputs, dict.fromkeys(inputs, True))


def encode_answer(answer: Answer, binary: Mapping[str, bool], request_id: str | None = None) -> Message:
    """Write a response: the tensors that `binary` names, in its order, each raw or as JSON."""
    head: dict[str, Any] = {"model_name": answer.model, "model_version": answer.version}
    if request_id is not None:
        head["id"] = request_id
    if answer.parameters:
        head["parameters"] = answer.parameters
    return _encode(head, "outputs", {name: answer.outputs[name] for name in binary}, binary)


def decode_answer(body: bytes, head_length: str | None) -> Answer:
    """Read a response of a server we trust to speak the protocol; WireError if it does not."""
    head, rest = split_body(body, head_length)
    outputs: dict[str, Tensor] = {}
    for index, part in enumerate(head.get("outputs", [])):
        where = f"outputs[{index}]"
        raw = take_raw(part, rest, where)
        if raw is not None:
            rest = rest[len(raw) :]
        tensor = tensor_of_json(part, where) if raw is None else tensor_of_raw(raw, part["datatype"], tuple(part["shape"]), where)
        outputs[part["name"]] = tensor
    return Answer(head["model_name"], head.get("model_version", ""), outputs, dict(head.get("parameters", {})))


def split_body(body: bytes, head_length: str | None) -> tuple[dict[str, Any], memoryview]:
    """Split a body into its JSON head and the raw rest."""
    length = len(body)
    if head_length is not None:
        if not head_length.isascii() or not head_length.isdigit() or len(head_length) > 12 or int(head_length) > len(body):
            raise WireError(HEAD_LENGTH, f"expected a number of bytes up to the body's {len(body)}, got {head_length[:20]!r}")
        length = int(head_length)
    try:
        head = orjson.loads(memoryview(body)[:length])
    except orjson.JSONDecodeError as error:
        raise WireError("body", f"not JSON: {error}") from error
    if not isinstance(head, dict):
        raise WireError("body", f"expected a JSON object, got {type(head).__name__}")
    return head, memoryview(body)[length:]


def take_raw(part: Mapping[str, Any], rest: memoryview, where: str) -> memoryview | None:
    """Give the raw bytes of a tensor from the front of the rest, or None for one whose data is in the JSON."""
    parameters = part.get("parameters", {})
    if not isinstance(parameters, dict) or "binary_data_size" not in parameters:
        return None
    size = parameters["binary_data_size"]
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
        raise WireError(
            f"{where}.parameters.binary_data_size", f"expected 0 to {len(rest)} bytes that the body still holds, got {size!r:.40}"
        )
    return rest[:size]


def tensor_of_raw(raw: memoryview, datatype: str, shape: tuple[int, ...], where: str, field: str | None = None) -> Tensor:
    """Read a tensor from its raw bytes: row-major little-endian, BYTES elements with a 4-byte length before each.

    Args:
        where: the tensor's place in a JSON head.
        field: what wrong bytes are blamed on where there is no such head.
    """
    data_field = field or f"{where}.data"
    if datatype == "BYTES":
        return _bytes_tensor(raw, shape, data_field)
    dtype = DTYPES[datatype]
    expected = math.prod(shape) * dtype.itemsize
    if len(raw) != expected:
        size_field = field or f"{where}.parameters.binary_data_size"
        raise WireError(size_field, f"expected {expected} bytes for {datatype} {list(shape)}, got {len(raw)}")
    if datatype == "BOOL" and np.frombuffer(raw, np.uint8).max(initial=0) > 1:
        raise WireError(data_field, "expected bytes 0 and 1 for BOOL")
    return np.frombuffer(raw, dtype).reshape(shape)


def tensor_of_json(part: Mapping[str, Any], where: str) -> Tensor:
    """Read a tensor from the `data` of a JSON part, flat or nested as its shape is, checking every element's type and range."""
    datatype, shape, field = part["datatype"], tuple(part["shape"]), f"{where}.data"
    data = part.get("data")
    if not isinstance(data, list):
        raise WireError(field, "expected a list of numbers, strings or booleans")
    return tensor_of_values(_flat(data, shape, field), datatype, shape, field)


def tensor_of_values(values: list[Any], datatype: str, shape: tuple[int, ...], field: str) -> Tensor:
    """Make a tensor of Python values in row-major order; texts of BYTES become UTF-8."""
    expected = math.prod(shape)
    if len(values) != expected:
        raise WireError(field, f"expected {expected} elements for shape {list(shape)}, got {len(values)}")
    return _typed(values, datatype, field).reshape(shape)


def raw_of_tensor(tensor: Tensor) -> bytes:
    """Write a tensor's raw bytes."""
    if tensor.dtype != np.object_:
        return np.ascontiguousarray(tensor).tobytes()
    return b"".join(struct.pack("<I", len(element)) + element for element in tensor.reshape(-1))


def text_tensor(texts: Sequence[str]) -> Tensor:
    """Make the BYTES [B, 1] tensor of B texts."""
    tensor = np.empty((len(texts), 1), dtype=np.object_)
    tensor[:, 0] = [text.encode() for text in texts]
    return tensor


def _encode(head: dict[str, Any], key: str, tensors: Mapping[str, Tensor], binary: Mapping[str, bool]) -> Message:
    parts, raws = [], []
    for name, tensor in tensors.items():
        part: dict[str, Any] = {"name": name, "datatype": datatype_of(tensor), "shape": list(tensor.shape)}
        if binary[name]:
            raws.append(_bytes_of(tensor))
            part["parameters"] = {"binary_data_size": len(raws[-1])}
        else:
            part["data"] = [_text(value) for value in tensor.reshape(-1)] if tensor.dtype == np.object_ else tensor.reshape(-1).tolist()
        parts.append(part)
    encoded = orjson.dumps({**head, key: parts})
    if not raws:
        return Message(encoded, {"Content-Type": JSON_TYPE})
    return Message(b"".join([encoded, *raws]), {"Content-Type": BINARY_TYPE, HEAD_LENGTH: str(len(encoded))})


def _bytes_of(tensor: Tensor) -> bytes | memoryview:
    """Give what `raw_of_tensor` gives, without a copy where the tensor's own memory is that."""
    if tensor.dtype == np.object_ or not tensor.size or not tensor.flags.c_contiguous:
        return raw_of_tensor(tensor)
    return tensor.data.cast("B")


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _bytes_tensor(raw: memoryview, shape: tuple[int, ...], field: str) -> Tensor:
    elements: list[bytes] = []
    offset, expected = 0, math.prod(shape)
    while offset < len(raw) and len(elements) <= expected:
        end = offset + 4
        length = struct.unpack_from("<I", raw, offset)[0] if end <= len(raw) else len(raw)
        if end + length > len(raw):
            raise WireError(field, f"element {len(elements)} of BYTES reaches beyond the tensor's {len(raw)} bytes")
        elements.append(bytes(raw[end : end + length]))
        offset = end + length
    if len(elements) != expected:
        found = len(elements) if offset == len(raw) else "more"
        raise WireError(field, f"expected {expected} elements for BYTES {list(shape)}, got {found}")
    return _object_array(elements).reshape(shape)


def _object_array(elements: Sequence[bytes]) -> Tensor:
    tensor = np.empty(len(elements), dtype=np.object_)
    tensor[:] = elements
    return tensor


def _flat(data: list[Any], shape: tuple[int, ...], field: str) -> list[Any]:
    # Level by level, so that a deep nest costs no recursion.
    num_rows = 1
    for size in shape[:-1]:
        if not _holds_lists(data):
            return data
        num_rows *= size
        if len(data) != num_rows or any(not isinstance(row, list) or len(row) != len(data[0]) for row in data):
            raise WireError(field, f"expected a flat list, or lists nested as the shape {list(shape)} is")
        data = [element for row in data for element in row]
    if _holds_lists(data):
        raise WireError(field, f"expected lists nested {len(shape)} deep at most, as the shape {list(shape)} is")
    return data


def _holds_lists(data: list[Any]) -> bool:
    return bool(data) and isinstance(data[0], list)


def _typed(flat: list[Any], datatype: str, field: str) -> Tensor:
    if datatype == "BYTES":
        if not all(isinstance(value, str | bytes) for value in flat):
            raise WireError(field, "expected strings for BYTES")
        return _object_array([value.encode() if isinstance(value, str) else value for value in flat])
    dtype = DTYPES[datatype]
    allowed: tuple[type, ...] = (bool,) if dtype.kind == "b" else (int, float) if dtype.kind == "f" else (int,)
    if {type(value) for value in flat} - set(allowed):
        raise WireError(field, f"expected {' or '.join(kind.__name__ for kind in allowed)} elements for {datatype}")
    if dtype.kind in "iu" and flat and not (np.iinfo(dtype).min <= min(flat) and max(flat) <= np.iinfo(dtype).max):
        raise WireError(field, f"an element is outside the range of {datatype}")
    # A number beyond a float's range becomes infinite, which the check of values refuses.
    with np.errstate(over="ignore"):
        return np.array(flat, dtype=dtype)
