"""A client's inference request as JSON, checked against the model's signature before Triton sees any of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from reelspace.serving.input_checks import MAX_ANY_DIM, InputChecks, checked_count, checked_id, checked_name, checked_timeout_s
from reelspace.serving.signatures import ANY, Signature, TensorSpec
from reelspace.serving.wire import DTYPES, Tensor, WireError, split_body, take_raw, tensor_of_json, tensor_of_raw

HEAD_KEYS: Final = {"id", "inputs", "outputs", "parameters"}
INPUT_KEYS: Final = {"name", "shape", "datatype", "data", "parameters"}
OUTPUT_KEYS: Final = {"name", "parameters"}
REQUEST_PARAMETERS: Final = {"binary_data_output", "timeout"}
BYTES_HEAD: Final = 65_536
JSON_BYTES_PER_BYTE: Final = 6
MAX_BODY_BYTES: Final = 64 << 20
"""As much as Triton takes over HTTP unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A valid request: its id, its tensors, the outputs asked for with whether each goes back raw, and the seconds its client waits."""

    request_id: str | None
    inputs: dict[str, Tensor]
    outputs: dict[str, bool]
    timeout_s: float | None = None


def max_body_bytes(signature: Signature) -> int:
    """Give the most bytes that a valid request may have: a full batch with every number written out as JSON, 64 MiB at most."""
    row_bytes = sum(_row_bytes(spec) for spec in signature.inputs)
    return min(BYTES_HEAD + signature.max_batch * row_bytes * JSON_BYTES_PER_BYTE, MAX_BODY_BYTES)


def parse_request(body: bytes, head_length: str | None, signature: Signature) -> InferRequest:
    """Read and check a request.

    Raises:
        WireError: the first thing that breaks the protocol or the signature, with the field it is in.
    """
    head, rest = split_body(body, head_length)
    _known_keys(head, HEAD_KEYS, "")
    parameters = _parameters(head, REQUEST_PARAMETERS, "")
    timeout_s = checked_timeout_s(parameters.get("timeout"))
    default_binary = _flag(parameters, "binary_data_output", False, "")
    inputs, rest = _inputs(head, rest, signature)
    if len(rest):
        raise WireError("body", f"{len(rest)} bytes follow the last binary tensor")
    return InferRequest(checked_id(head.get("id")), inputs, _outputs(head, signature, default_binary), timeout_s)


def _inputs(head: Mapping[str, Any], rest: memoryview, signature: Signature) -> tuple[dict[str, Tensor], memoryview]:
    checks = InputChecks(signature)
    for index, part in enumerate(_parts(head, "inputs", len(signature.inputs))):
        where = f"inputs[{index}]"
        _known_keys(part, INPUT_KEYS, where)
        spec = checks.spec(part.get("name"), part.get("datatype"), part.get("shape"), where)
        _parameters(part, {"binary_data_size"}, where)
        raw = take_raw(part, rest, where)
        if raw is not None and "data" in part:
            raise WireError(f"{where}.data", "given although binary_data_size says that the data is binary")
        rest = rest if raw is None else rest[len(raw) :]
        tensor = tensor_of_json(part, where) if raw is None else tensor_of_raw(raw, spec.datatype, tuple(part["shape"]), where)
        checks.add(spec, tensor, f"{where}.data")
    return checks.whole(), rest


def _outputs(head: Mapping[str, Any], signature: Signature, default_binary: bool) -> dict[str, bool]:
    names = [spec.name for spec in signature.outputs]
    if not head.get("outputs"):
        return dict.fromkeys(names, default_binary)
    wanted: dict[str, bool] = {}
    for index, part in enumerate(_parts(head, "outputs", len(names))):
        where = f"outputs[{index}]"
        _known_keys(part, OUTPUT_KEYS, where)
        name = checked_name(part.get("name"), names, wanted, where)
        wanted[name] = _flag(_parameters(part, {"binary_data"}, where), "binary_data", default_binary, where)
    return wanted


def _parts(head: Mapping[str, Any], key: str, most: int) -> list[dict[str, Any]]:
    parts = head.get(key)
    if not isinstance(parts, list):
        raise WireError(key, f"expected a list of 1 to {most} tensors")
    checked_count(len(parts), most, key)
    for index, part in enumerate(parts):
        if not isinstance(part, dict):
            raise WireError(f"{key}[{index}]", f"expected an object, got {type(part).__name__}")
    return parts


def _row_bytes(spec: TensorSpec) -> int:
    if spec.datatype == "BYTES":
        return spec.max_bytes * math.prod(MAX_ANY_DIM if size == ANY else size for size in spec.dims)
    return DTYPES[spec.datatype].itemsize * math.prod(MAX_ANY_DIM if size == ANY else size for size in spec.dims)


def _known_keys(part: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in part:
        if key not in known:
            raise WireError(f"{where}.{key:.60}".lstrip("."), f"unknown; known here: {', '.join(sorted(known))}")


def _parameters(part: Mapping[str, Any], known: set[str], where: str) -> dict[str, Any]:
    parameters = part.get("parameters", {})
    if not isinstance(parameters, dict):
        raise WireError(f"{where}.parameters".lstrip("."), "expected an object")
    _known_keys(parameters, known, f"{where}.parameters")
    return parameters


def _flag(parameters: Mapping[str, Any], name: str, default: bool, where: str) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise WireError(f"{where}.parameters.{name}".lstrip("."), f"expected true or false, got {value!r:.40}")
    return value
