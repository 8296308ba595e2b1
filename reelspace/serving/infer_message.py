"""Inference over gRPC: the protocol's messages to checked requests, and answers to messages.

A tensor's numbers lie in `contents`, in the list of their kind, or as raw bytes in `raw_input_contents`; of one request all do alike.
"""

from collections.abc import Mapping
from typing import Any, Final

from tritonclient.grpc import service_pb2

from reelspace.serving.infer_request import InferRequest
from reelspace.serving.input_checks import InputChecks, checked_count, checked_id, checked_name, checked_timeout_s
from reelspace.serving.signatures import Signature, TensorSpec
from reelspace.serving.wire import Answer, Tensor, WireError, datatype_of, raw_of_tensor, tensor_of_raw, tensor_of_values

_CONTENTS: Final = {
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "BOOL": "bool_contents",
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def parse_message(message: Any, signature: Signature) -> InferRequest:
    """Check a ModelInferRequest.

    Raises:
        WireError: the first thing that breaks the protocol or the signature, with the field it is in.
    """
    parameters = _parameters(message.parameters, {"timeout"}, "parameters")
    timeout_s = checked_timeout_s(parameters.get("timeout"))
    request_id = checked_id(message.id or None)
    return InferRequest(request_id, _inputs(message, signature), _outputs(message, signature), timeout_s)


def answer_message(answer: Answer, request: InferRequest) -> Any:
    """Write a ModelInferResponse with the outputs that were asked for, all raw."""
    message = service_pb2.ModelInferResponse(model_name=answer.model, model_version=answer.version, id=request.request_id or "")
    for name, value in answer.parameters.items():
        message.parameters[name].string_param = value
    for name in request.outputs:
        tensor = answer.outputs[name]
        message.outputs.add(name=name, datatype=datatype_of(tensor), shape=tensor.shape)
        message.raw_output_contents.append(raw_of_tensor(tensor))
    return message


def _inputs(message: Any, signature: Signature) -> dict[str, Tensor]:
    checks, raws = InputChecks(signature), message.raw_input_contents
    checked_count(len(message.inputs), len(signature.inputs), "inputs")
    if raws and len(raws) != len(message.inputs):
        raise WireError("raw_input_contents", f"expected one for each of {len(message.inputs)} inputs, or none; got {len(raws)}")
    for index, part in enumerate(message.inputs):
        where = f"inputs[{index}]"
        spec = checks.spec(part.name, part.datatype, list(part.shape), where)
        _parameters(part.parameters, set(), f"{where}.parameters")
        if raws:
            tensor, field = _tensor_of_raw(part, raws[index], index), f"raw_input_contents[{index}]"
        else:
            tensor, field = _tensor_of_contents(part, spec, where), f"{where}.contents"
        checks.add(spec, tensor, field)
    return checks.whole()


def _tensor_of_raw(part: Any, raw: bytes, index: int) -> Tensor:
    if part.HasField("contents"):
        raise WireError(f"inputs[{index}].contents", "given although raw_input_contents has the data")
    where = f"raw_input_contents[{index}]"
    return tensor_of_raw(memoryview(raw), part.datatype, tuple(part.shape), where, where)


def _tensor_of_contents(part: Any, spec: TensorSpec, where: str) -> Tensor:
    wanted = _CONTENTS.get(spec.datatype)
    if wanted is None:
        raise WireError("raw_input_contents", f"expected raw bytes: the protocol has no other place for {spec.datatype}")
    for descriptor, _ in part.contents.ListFields():
        if descriptor.name != wanted:
            raise WireError(f"{where}.contents.{descriptor.name}", f"expected {wanted} for {spec.datatype}")
    return tensor_of_values(list(getattr(part.contents, wanted)), spec.datatype, tuple(part.shape), f"{where}.contents.{wanted}")


def _outputs(message: Any, signature: Signature) -> dict[str, bool]:
    names = [spec.name for spec in signature.outputs]
    wanted: dict[str, bool] = {}
    if message.outputs:
        checked_count(len(message.outputs), len(names), "outputs")
    for index, part in enumerate(message.outputs):
        where = f"outputs[{index}]"
        _parameters(part.parameters, set(), f"{where}.parameters")
        wanted[checked_name(part.name, names, wanted, where)] = True
    return wanted or dict.fromkeys(names, True)


def _parameters(parameters: Any, known: set[str], where: str) -> Mapping[str, Any]:
    for name in parameters:
        if name not in known:
            raise WireError(f"{where}.{name:.60}", f"unknown; known here: {', '.join(sorted(known)) or 'none'}")
    return {name: getattr(one, one.WhichOneof("parameter_choice") or "", None) for name, one in parameters.items()}
