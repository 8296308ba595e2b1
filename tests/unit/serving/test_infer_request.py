import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest

from reelspace.serving.infer_request import max_body_bytes, parse_request
from reelspace.serving.signatures import EncoderSizes, Signature, TensorSpec, video_signature
from reelspace.serving.wire import HEAD_LENGTH, WireError, encode_request, text_tensor

SIGNATURE = video_signature("video_encoder", EncoderSizes(8, 2, 4, 4, 10))
TENSORS = {
    "FRAMES": np.arange(192, dtype=np.uint8).reshape(2, 2, 4, 4, 3)[:1].repeat(2, axis=0),
    "FRAMES_MASK": np.array([[True, False], [True, True]]),
    "AUDIO": np.arange(20, dtype=np.int16).reshape(2, 10),
    "AUDIO_MASK": np.array([[True], [False]]),
    "TEXT": text_tensor(["a", "b"]),
}
Change = Callable[[dict[str, Any]], None]


def good() -> dict[str, Any]:
    parts = [
        {"name": "FRAMES", "datatype": "UINT8", "shape": [1, 2, 4, 4, 3], "data": [7] * 96},
        {"name": "AUDIO", "datatype": "INT16", "shape": [1, 10], "data": [-1] * 10},
        {"name": "AUDIO_MASK", "datatype": "BOOL", "shape": [1, 1], "data": [True]},
        {"name": "TEXT", "datatype": "BYTES", "shape": [1, 1], "data": ["words"]},
    ]
    return {"id": "r1", "inputs": parts, "outputs": [{"name": "EMBEDDING"}]}


def test_binary_request_gives_the_tensors_that_were_sent() -> None:
    message = encode_request(TENSORS)
    request = parse_request(message.body, message.headers[HEAD_LENGTH], SIGNATURE)
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(request.inputs[name], tensor)
    assert request.outputs == {"EMBEDDING": True, "SPACE_ID": True}


def test_json_request_gives_its_tensors_and_json_outputs() -> None:
    request = parse_request(orjson.dumps(good()), None, SIGNATURE)
    assert request.request_id == "r1"
    assert request.inputs["FRAMES"].dtype == np.uint8
    assert request.inputs["FRAMES"].sum() == 7 * 96
    assert request.outputs == {"EMBEDDING": False}


def input_change(index: int, **values: Any) -> Change:
    return lambda head: head["inputs"][index].update(values)


BAD: list[tuple[str, Change]] = [
    ("id", lambda head: head.update(id=5)),
    ("id", lambda head: head.update(id="x" * 200)),
    ("id", lambda head: head.update(id="a\nb")),
    ("shared_memory", lambda head: head.update(shared_memory=1)),
    ("parameters", lambda head: head.update(parameters=[])),
    ("parameters.sequence_id", lambda head: head.update(parameters={"sequence_id": 1})),
    ("parameters.binary_data_output", lambda head: head.update(parameters={"binary_data_output": 1})),
    ("parameters.timeout", lambda head: head.update(parameters={"timeout": 0})),
    ("parameters.timeout", lambda head: head.update(parameters={"timeout": 1.5})),
    ("parameters.timeout", lambda head: head.update(parameters={"timeout": True})),
    ("parameters.timeout", lambda head: head.update(parameters={"timeout": 2**63})),
    ("inputs", lambda head: head.pop("inputs")),
    ("inputs", lambda head: head.update(inputs=[])),
    ("inputs", lambda head: head["inputs"].pop()),
    ("inputs", lambda head: head["inputs"].pop(0)),
    ("inputs", lambda head: head.update(inputs=head["inputs"] * 2)),
    ("inputs[1]", lambda head: head["inputs"].__setitem__(1, 3)),
    ("inputs[1].name", lambda head: head["inputs"].__setitem__(1, copy.deepcopy(head["inputs"][0]))),
    ("inputs[0].name", input_change(0, name="PIXELS")),
    ("inputs[0].name", input_change(0, name=["FRAMES"])),
    ("inputs[0].datatype", input_change(0, datatype="FP32")),
    ("inputs[0].datatype", input_change(0, datatype=None)),
    ("inputs[0].shape", input_change(0, shape=[1, 2, 4, 4, 4])),
    ("inputs[0].shape", input_change(0, shape=[2, 4, 4, 3])),
    ("inputs[0].shape", input_change(0, shape=[0, 2, 4, 4, 3])),
    ("inputs[0].shape", input_change(0, shape=[33, 2, 4, 4, 3])),
    ("inputs[0].shape", input_change(0, shape=[-1, 2, 4, 4, 3])),
    ("inputs[0].shape", input_change(0, shape=[1.0, 2, 4, 4, 3])),
    ("inputs[0].shape", input_change(0, shape=[True, 2, 4, 4, 3])),
    ("inputs[0].shape", input_change(0, shape="1")),
    ("inputs[0].data", input_change(0, data=[7] * 95)),
    ("inputs[0].data", input_change(0, data=[256] * 96)),
    ("inputs[0].parameters", input_change(0, parameters=1)),
    ("inputs[0].parameters.shared_memory_region", input_change(0, parameters={"shared_memory_region": "r"})),
    ("inputs[0].parameters.binary_data_size", input_change(0, parameters={"binary_data_size": 96})),
    ("inputs[0].parameters.binary_data_size", input_change(0, parameters={"binary_data_size": -1})),
    ("inputs[0].parameters.binary_data_size", input_change(0, parameters={"binary_data_size": True})),
    ("inputs[0].shape", input_change(0, shape=[2**62, 2, 4, 4, 3])),
    ("inputs[3].data", input_change(3, data=["x" * 20_000])),
    ("inputs[3].data", input_change(3, data=["a\0b"])),
    ("inputs", input_change(3, shape=[2, 1], data=["a", "b"])),
    ("outputs", lambda head: head.update(outputs={"name": "EMBEDDING"})),
    ("outputs[0].name", lambda head: head.update(outputs=[{"name": "LOGITS"}])),
    ("outputs[1].name", lambda head: head.update(outputs=[{"name": "EMBEDDING"}, {"name": "EMBEDDING"}])),
    ("outputs[0].parameters.classification", lambda head: head["outputs"][0].update(parameters={"classification": 3})),
    ("outputs[0].parameters.binary_data", lambda head: head["outputs"][0].update(parameters={"binary_data": "yes"})),
]


@pytest.mark.parametrize(("field", "change"), BAD, ids=[f"{number}-{field}" for number, (field, _) in enumerate(BAD)])
def test_a_bad_request_is_refused_naming_the_field(field: str, change: Change) -> None:
    head = good()
    change(head)
    with pytest.raises(WireError) as caught:
        parse_request(orjson.dumps(head), None, SIGNATURE)
    assert caught.value.field == field


def test_bytes_behind_the_last_tensor_are_refused() -> None:
    message = encode_request(TENSORS)
    with pytest.raises(WireError, match="follow the last binary tensor"):
        parse_request(message.body + b"\0", message.headers[HEAD_LENGTH], SIGNATURE)


def test_words_that_are_no_utf8_are_refused_and_other_bytes_are_not() -> None:
    for name, is_refused in (("TEXT", True), ("MEDIA", False)):
        signature = Signature("m", (TensorSpec(name, "BYTES", (1,)),), SIGNATURE.outputs)
        value = text_tensor([""])
        value[0, 0] = b"\xff\0"
        message = encode_request({name: value})
        if is_refused:
            with pytest.raises(WireError, match="TEXT: row 0 is not UTF-8"):
                parse_request(message.body, message.headers[HEAD_LENGTH], signature)
        else:
            assert parse_request(message.body, message.headers[HEAD_LENGTH], signature).inputs[name][0, 0] == b"\xff\0"


def test_the_clients_timeout_is_microseconds() -> None:
    assert parse_request(orjson.dumps(good() | {"parameters": {"timeout": 1_500_000}}), None, SIGNATURE).timeout_s == 1.5
    assert parse_request(orjson.dumps(good()), None, SIGNATURE).timeout_s is None


def test_no_body_may_be_larger_than_64_mib_however_many_sizes_are_open() -> None:
    assert max_body_bytes(Signature("m", (TensorSpec("X", "FP64", (-1, -1, -1, -1)),), SIGNATURE.outputs)) == 64 << 20
    assert max_body_bytes(Signature("m", (TensorSpec("X", "FP32", (2,)),), SIGNATURE.outputs, max_batch=8)) < 70_000


def test_the_largest_valid_request_fits_the_body_limit() -> None:
    head = good()
    most = SIGNATURE.max_batch
    values = {"FRAMES": [255] * 96, "AUDIO": [-32768] * 10, "AUDIO_MASK": [False], "TEXT": ["x" * 16_384]}
    for part in head["inputs"]:
        part["shape"][0] = most
        part["data"] = values[part["name"]] * most
    body = orjson.dumps(head)
    assert len(body) <= max_body_bytes(SIGNATURE)
    assert len(parse_request(body, None, SIGNATURE).inputs["TEXT"]) == most
