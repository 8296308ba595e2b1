"""A client's inference request, checked against the model's signature before Triton sees any of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from reelspace.serving.signatures import ANY, MAX_TEXT_BYTES, Signature, TensorSpec
from reelspace.serving.wire import DTYPES, Tensor, WireError, split_body, take_raw, tensor_of_json, tensor_of_raw

MAX_ID_LENGTH: Final = 128
MAX_ANY_DIM: Final = 65_536
HEAD_KEYS: Final = {"id", "inputs", "outputs", "parameters"}
INPUT_KEYS: Final = {"name", "shape", "datatype", "data", "parameters"}
OUTPUT_KEYS: Final = {"name", "parameters"}
BYTES_HEAD: Final = 65_536
JSON_BYTES_PER_BYTE: Final = 6


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A valid request: its id, its tensors, and the outputs asked for with whether each goes back raw."""

    request_id: str | None
    inputs: dict[str, Tensor]
    outputs: dict[str, bool]


def max_body_bytes(signature: Signature) -> int:
    """Give the most bytes that a valid request may have: a full batch with every number written out as JSON."""
    row_bytes = sum(_row_bytes(spec) for spec in signature.inputs)
    return BYTES_HEAD + signature.max_batch * row_bytes * JSON_BYTES_PER_BYTE


def parse_request(body: bytes, head_length: str | None, signature: Signature) -> InferRequest:
    """Read and check a request.

    Raises:
        WireError: the first thing that breaks the protocol or the signature, with the field it is in.
    """
    head, rest = split_body(body, head_length)
    _known_keys(head, HEAD_KEYS, "")
    default_binary = _flags(head, "parameters", {"binary_data_output"}).get("binary_data_output", False)
    inputs, rest = _inputs(head, rest, signature)
    if len(rest):
        raise WireError("body", f"{len(rest)} bytes follow the last binary tensor")
    return InferRequest(_request_id(head), inputs, _outputs(head, signature, default_binary))


def _request_id(head: Mapping[str, Any]) -> str | None:
    value = head.get("id")
    if value is None or (isinstance(value, str) and len(value) <= MAX_ID_LENGTH and value.isprintable()):
        return value
    raise WireError("id", f"expected a printable string of at most {MAX_ID_LENGTH} characters")


def _inputs(head: Mapping[str, Any], rest: memoryview, signature: Signature) -> tuple[dict[str, Tensor], memoryview]:
    specs = {spec.name: spec for spec in signature.inputs}
    tensors: dict[str, Tensor] = {}
    for index, part in enumerate(_parts(head, "inputs", len(specs))):
        where = f"inputs[{index}]"
        _known_keys(part, INPUT_KEYS, where)
        spec = specs[_name(part, specs, tensors, where)]
        _check_spec(part, spec, signature.max_batch, where)
        _parameter_names(part, {"binary_data_size"}, where)
        raw = take_raw(part, rest, where)
        if raw is not None and "data" in part:
            raise WireError(f"{where}.data", "given although binary_data_size says that the data is binary")
        rest = rest if raw is None else rest[len(raw) :]
        tensor = tensor_of_json(part, where) if raw is None else tensor_of_raw(raw, spec.datatype, tuple(part["shape"]), where)
        _check_values(tensor, spec, f"{where}.data")
        tensors[spec.name] = tensor
    missing = [spec.name for spec in signature.inputs if not spec.optional and spec.name not in tensors]
    if missing:
        raise WireError("inputs", f"{', '.join(missing)} missing; model {signature.model} takes {', '.join(specs)}")
    batches = {name: len(tensor) for name, tensor in tensors.items()}
    if len(set(batches.values())) > 1:
        raise WireError("inputs", f"the batch differs between tensors: {batches}")
    return tensors, rest


def _outputs(head: Mapping[str, Any], signature: Signature, default_binary: bool) -> dict[str, bool]:
    names = [spec.name for spec in signature.outputs]
    if not head.get("outputs"):
        return dict.fromkeys(names, default_binary)
    wanted: dict[str, bool] = {}
    for index, part in enumerate(_parts(head, "outputs", len(names))):
        where = f"outputs[{index}]"
        _known_keys(part, OUTPUT_KEYS, where)
        name = _name(part, names, wanted, where)
        wanted[name] = _flags(part, "parameters", {"binary_data"}, where + ".").get("binary_data", default_binary)
    return wanted


def _parts(head: Mapping[str, Any], key: str, most: int) -> list[dict[str, Any]]:
    parts = head.get(key)
    if not isinstance(parts, list) or not 1 <= len(parts) <= most:
        raise WireError(key, f"expected a list of 1 to {most} tensors")
    for index, part in enumerate(parts):
        if not isinstance(part, dict):
            raise WireError(f"{key}[{index}]", f"expected an object, got {type(part).__name__}")
    return parts


def _name(part: Mapping[str, Any], known: Any, seen: Mapping[str, object], where: str) -> str:
    name = part.get("name")
    if not isinstance(name, str) or name not in known:
        raise WireError(f"{where}.name", f"expected one of {', '.join(known)}, got {name!r:.60}")
    if name in seen:
        raise WireError(f"{where}.name", f"{name} is given twice")
    return name


def _check_spec(part: Mapping[str, Any], spec: TensorSpec, max_batch: int, where: str) -> None:
    datatype, shape = part.get("datatype"), part.get("shape")
    if datatype != spec.datatype:
        raise WireError(f"{where}.datatype", f"{spec.name} is {spec.datatype}, got {datatype!r:.40}")
    expected = [f"1 to {max_batch}", *("1 or more" if size == ANY else str(size) for size in spec.dims)]
    if not isinstance(shape, list) or not _fits(shape, spec, max_batch):
        raise WireError(f"{where}.shape", f"{spec.name} has shape [{', '.join(expected)}], got {shape!r:.80}")


def _fits(shape: list[Any], spec: TensorSpec, max_batch: int) -> bool:
    if len(shape) != len(spec.dims) + 1 or any(type(size) is not int for size in shape):
        return False
    fixed = zip(shape[1:], spec.dims, strict=True)
    return 1 <= shape[0] <= max_batch and all(1 <= size <= MAX_ANY_DIM if dim == ANY else size == dim for size, dim in fixed)


def _check_values(tensor: Tensor, spec: TensorSpec, where: str) -> None:
    if spec.datatype == "BYTES":
        longest = max(len(element) for element in tensor.reshape(-1))
        if longest > MAX_TEXT_BYTES:
            raise WireError(where, f"{spec.name} holds at most {MAX_TEXT_BYTES} bytes per element, got {longest}")
    if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
        raise WireError(where, f"{spec.name} must be finite")


def _row_bytes(spec: TensorSpec) -> int:
    if spec.datatype == "BYTES":
        return MAX_TEXT_BYTES
    return DTYPES[spec.datatype].itemsize * int(np.prod([MAX_ANY_DIM if size == ANY else size for size in spec.dims], dtype=np.int64))


def _known_keys(part: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in part:
        if key not in known:
            raise WireError(f"{where}.{key}".lstrip("."), f"unknown; known here: {', '.join(sorted(known))}")


def _parameter_names(part: Mapping[str, Any], known: set[str], where: str) -> None:
    parameters = part.get("parameters", {})
    if not isinstance(parameters, dict):
        raise WireError(f"{where}.parameters".lstrip("."), "expected an object")
    _known_keys(parameters, known, f"{where}.parameters")


def _flags(part: Mapping[str, Any], key: str, known: set[str], where: str = "") -> dict[str, bool]:
    _parameter_names(part, known, where.rstrip("."))
    flags: dict[str, bool] = dict(part.get(key, {}))
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise WireError(f"{where}{key}.{name}", f"expected true or false, got {value!r:.40}")
    return flags
