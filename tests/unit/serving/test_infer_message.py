import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from tritonclient.grpc import service_pb2

from reelspace.serving.infer_message import answer_message, parse_message
from reelspace.serving.infer_request import parse_request
from reelspace.serving.signatures import EncoderSizes, Signature, TensorSpec, video_signature
from reelspace.serving.wire import DTYPES, Answer, WireError, raw_of_tensor, text_tensor

SIGNATURE = video_signature("video_encoder", EncoderSizes(8, 2, 4, 4, 10))
PARTS: list[tuple[str, str, list[int], list[Any]]] = [
    ("FRAMES", "UINT8", [1, 2, 4, 4, 3], [7] * 96),
    ("AUDIO", "INT16", [1, 10], [-1] * 10),
    ("AUDIO_MASK", "BOOL", [1, 1], [True]),
    ("TEXT", "BYTES", [1, 1], ["words"]),
]
CONTENTS = {"UINT8": "uint_contents", "INT16": "int_contents", "BOOL": "bool_contents", "BYTES": "bytes_contents"}
Change = Callable[[Any], object]


def good(is_raw: bool) -> Any:
    message = service_pb2.ModelInferRequest(model_name="video_encoder", id="r1")
    for name, datatype, shape, data in PARTS:
        part = message.inputs.add(name=name, datatype=datatype, shape=shape)
        values = [value.encode() for value in data] if datatype == "BYTES" else data
        if is_raw:
            message.raw_input_contents.append(raw_of_tensor(np.array(values, dtype=DTYPES[datatype])))
        else:
            getattr(part.contents, CONTENTS[datatype]).extend(values)
    message.outputs.add(name="EMBEDDING")
    return message


@pytest.mark.parametrize("is_raw", [True, False])
def test_a_message_means_what_the_same_request_means_as_json(is_raw: bool) -> None:
    parts = [{"name": name, "datatype": datatype, "shape": shape, "data": data} for name, datatype, shape, data in PARTS]
    same = parse_request(orjson.dumps({"id": "r1", "inputs": parts, "outputs": [{"name": "EMBEDDING"}]}), None, SIGNATURE)
    found = parse_message(good(is_raw), SIGNATURE)
    assert (found.request_id, list(found.outputs), found.timeout_s) == (same.request_id, list(same.outputs), None)
    for name, tensor in same.inputs.items():
        assert found.inputs[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found.inputs[name], tensor)


def test_the_clients_timeout_is_microseconds() -> None:
    message = good(True)
    message.parameters["timeout"].int64_param = 1_500_000
    assert parse_message(message, SIGNATURE).timeout_s == 1.5


def part_change(index: int, **values: Any) -> Change:
    def change(message: Any) -> None:
        for name, value in values.items():
            if name == "shape":
                message.inputs[index].shape[:] = value
            else:
                setattr(message.inputs[index], name, value)

    return change


def set_parameter(holder: Callable[[Any], Any], name: str, **value: Any) -> Change:
    return lambda message: [setattr(holder(message).parameters[name], kind, one) for kind, one in value.items()]


def replaced(raw: bytes, index: int) -> Change:
    return lambda message: message.raw_input_contents.__setitem__(index, raw)


BAD: list[tuple[str, bool, Change]] = [
    ("id", True, lambda message: setattr(message, "id", "x" * 129)),
    ("id", True, lambda message: setattr(message, "id", "a\nb")),
    ("parameters.sequence_id", True, set_parameter(lambda message: message, "sequence_id", int64_param=1)),
    ("parameters.timeout", True, set_parameter(lambda message: message, "timeout", int64_param=0)),
    ("parameters.timeout", True, set_parameter(lambda message: message, "timeout", string_param="1")),
    ("parameters.timeout", True, set_parameter(lambda message: message, "timeout", bool_param=True)),
    ("inputs", True, lambda message: message.ClearField("inputs")),
    ("inputs", False, lambda message: message.inputs.pop()),
    ("inputs", True, lambda message: message.inputs.extend(list(message.inputs) * 2)),
    ("raw_input_contents", True, lambda message: message.raw_input_contents.pop()),
    ("raw_input_contents", True, lambda message: message.raw_input_contents.append(b"")),
    ("inputs[0].name", True, part_change(0, name="PIXELS")),
    ("inputs[1].name", True, part_change(1, name="FRAMES")),
    ("inputs[0].datatype", True, part_change(0, datatype="FP32")),
    ("inputs[0].shape", True, part_change(0, shape=[2, 4, 4, 3])),
    ("inputs[0].shape", True, part_change(0, shape=[0, 2, 4, 4, 3])),
    ("inputs[0].shape", True, part_change(0, shape=[-1, 2, 4, 4, 3])),
    ("inputs[0].shape", True, part_change(0, shape=[33, 2, 4, 4, 3])),
    ("inputs[0].parameters.shared_memory_region", True, set_parameter(lambda m: m.inputs[0], "shared_memory_region", string_param="r")),
    ("inputs[0].contents", True, lambda message: message.inputs[0].contents.uint_contents.extend([7] * 96)),
    ("inputs[0].contents.uint_contents", False, lambda message: message.inputs[0].contents.uint_contents.pop()),
    ("inputs[0].contents.uint_contents", False, lambda message: message.inputs[0].contents.uint_contents.__setitem__(0, 256)),
    ("inputs[0].contents.fp32_contents", False, lambda message: message.inputs[0].contents.fp32_contents.append(1)),
    ("inputs[1].contents.int_contents", False, lambda message: message.inputs[1].contents.int_contents.__setitem__(0, -32769)),
    ("inputs[3].contents", False, lambda message: message.inputs[3].contents.bytes_contents.__setitem__(0, b"a\0b")),
    ("raw_input_contents[0]", True, replaced(b"\7" * 95, 0)),
    ("raw_input_contents[2]", True, replaced(b"\2", 2)),
    ("raw_input_contents[3]", True, replaced(struct.pack("<I2s", 5, b"ab"), 3)),
    ("raw_input_contents[3]", True, replaced(struct.pack("<I2s", 2, b"\xff\xfe"), 3)),
    ("raw_input_contents[3]", True, replaced(struct.pack("<I20000s", 20_000, b"a"), 3)),
    ("outputs[0].name", True, lambda message: setattr(message.outputs[0], "name", "LOGITS")),
    ("outputs[1].name", True, lambda message: message.outputs.add(name="EMBEDDING")),
    ("outputs", True, lambda message: message.outputs.extend(list(message.outputs) * 3)),
    ("outputs[0].parameters.classification", True, set_parameter(lambda message: message.outputs[0], "classification", int64_param=3)),
]


@pytest.mark.parametrize(("field", "is_raw", "change"), BAD, ids=[f"{number}-{row[0]}" for number, row in enumerate(BAD)])
def test_a_bad_message_is_refused_naming_the_field(field: str, is_raw: bool, change: Change) -> None:
    message = good(is_raw)
    parse_message(message, SIGNATURE)
    change(message)
    with pytest.raises(WireError) as caught:
        parse_message(message, SIGNATURE)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("datatype", "contents", "values"),
    [
        ("INT8", "int_contents", [-128, 127]),
        ("INT32", "int_contents", [-(2**31), 2**31 - 1]),
        ("INT64", "int64_contents", [-(2**63), 2**63 - 1]),
        ("UINT32", "uint_contents", [0, 2**32 - 1]),
        ("UINT64", "uint64_contents", [0, 2**64 - 1]),
        ("FP64", "fp64_contents", [0.1, -1e300]),
    ],
)
def test_numbers_lie_in_the_list_of_their_kind(datatype: str, contents: str, values: list[Any]) -> None:
    signature = Signature("m", (TensorSpec("X", datatype, (2,)),), (TensorSpec("Y", datatype, (2,)),))
    message = service_pb2.ModelInferRequest()
    getattr(message.inputs.add(name="X", datatype=datatype, shape=[1, 2]).contents, contents).extend(values)
    found = parse_message(message, signature).inputs["X"]
    assert (found.dtype, found.tolist()) == (DTYPES[datatype], [values])


def test_half_floats_have_no_list_and_are_asked_for_raw() -> None:
    signature = Signature("m", (TensorSpec("X", "FP16", (2,)),), (TensorSpec("Y", "FP16", (2,)),))
    message = service_pb2.ModelInferRequest()
    message.inputs.add(name="X", datatype="FP16", shape=[1, 2])
    with pytest.raises(WireError, match="expected raw bytes: the protocol has no other place for FP16"):
        parse_message(message, signature)
    message.raw_input_contents.append(np.array([0.5, 2], dtype="<f2").tobytes())
    assert parse_message(message, signature).inputs["X"].tolist() == [[0.5, 2]]


def test_an_answer_has_the_outputs_that_were_asked_for_raw() -> None:
    request = parse_message(good(True), SIGNATURE)
    answer = Answer("m", "3", {"EMBEDDING": np.array([[0.5, -1]], dtype=np.float32), "SPACE_ID": text_tensor(["s"])}, {"space_id": "s"})
    message = answer_message(answer, request)
    assert (message.model_name, message.model_version, message.id) == ("m", "3", "r1")
    assert [(one.name, one.datatype, list(one.shape)) for one in message.outputs] == [("EMBEDDING", "FP32", [1, 2])]
    assert list(message.raw_output_contents) == [struct.pack("<2f", 0.5, -1)]
    assert message.parameters["space_id"].string_param == "s"
