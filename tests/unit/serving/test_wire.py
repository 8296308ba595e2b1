import json
import struct

import numpy as np
import pytest

from reelspace.serving.wire import (
    HEAD_LENGTH,
    Answer,
    WireError,
    decode_answer,
    encode_answer,
    encode_request,
    raw_of_tensor,
    split_body,
    tensor_of_json,
    tensor_of_raw,
    text_tensor,
)

TENSORS = {
    "BOOL": np.array([[True, False]]),
    "UINT8": np.array([[0, 255]], dtype=np.uint8),
    "INT16": np.array([[-32768, 32767]], dtype=np.int16),
    "INT64": np.array([[-(2**63), 2**63 - 1]], dtype=np.int64),
    "FP32": np.array([[0.5, -1.25]], dtype=np.float32),
    "BYTES": text_tensor(["", "拉麵"]),
}


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", TENSORS)
def test_an_answer_comes_back_equal_whichever_way_it_was_encoded(datatype: str, binary: bool) -> None:
    answer = Answer("m", "3", {"Y": TENSORS[datatype]}, {"space_id": "abc"})
    message = encode_answer(answer, {"Y": binary}, "id-1")
    found = decode_answer(message.body, message.headers.get(HEAD_LENGTH))
    assert (found.model, found.version, found.parameters) == ("m", "3", {"space_id": "abc"})
    assert found.outputs["Y"].dtype == TENSORS[datatype].dtype
    np.testing.assert_array_equal(found.outputs["Y"], TENSORS[datatype])


def test_binary_request_is_the_bytes_that_the_protocol_describes() -> None:
    message = encode_request({"TEXT": text_tensor(["ab", "c"]), "N": np.array([[1], [-2]], dtype=np.int16)}, request_id="7")
    length = int(message.headers[HEAD_LENGTH])
    head = json.loads(message.body[:length])
    assert head["id"] == "7"
    assert head["parameters"] == {"binary_data_output": True}
    assert head["inputs"] == [
        {"name": "TEXT", "datatype": "BYTES", "shape": [2, 1], "parameters": {"binary_data_size": 11}},
        {"name": "N", "datatype": "INT16", "shape": [2, 1], "parameters": {"binary_data_size": 4}},
    ]
    assert message.body[length:] == struct.pack("<I2sI1shh", 2, b"ab", 1, b"c", 1, -2)[:6] + struct.pack("<I1s", 1, b"c") + struct.pack(
        "<hh", 1, -2
    )


def test_json_data_may_be_nested_or_flat() -> None:
    part = {"datatype": "FP32", "shape": [2, 2]}
    flat = tensor_of_json({**part, "data": [1, 2, 3, 4.5]}, "x")
    nested = tensor_of_json({**part, "data": [[1, 2], [3, 4.5]]}, "x")
    np.testing.assert_array_equal(flat, np.array([[1, 2], [3, 4.5]], dtype=np.float32))
    np.testing.assert_array_equal(flat, nested)


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("UINT8", [256]),
        ("UINT8", [-1]),
        ("INT16", [1.0]),
        ("BOOL", [1]),
        ("FP32", ["1"]),
        ("FP32", [True]),
        ("BYTES", [1]),
        ("FP32", [1, 2]),
        ("FP32", []),
        ("FP32", "1"),
        ("FP32", None),
        ("FP32", [[1], 2]),
        ("FP32", [None]),
    ],
)
def test_json_data_of_another_type_range_or_length_is_refused(datatype: str, data: object) -> None:
    with pytest.raises(WireError, match=r"inputs\[0\]\.data"):
        tensor_of_json({"datatype": datatype, "shape": [1], "data": data}, "inputs[0]")


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([1, 2], [[[1, 2]]]),
        ([1, 1], [[[1]]]),
        ([2, 2], [[1, 2, 3], [4]]),
        ([2, 2], [[1, 2, 3, 4]]),
        ([2, 2], [[[1], [2]], [[3], [4]]]),
        ([2, 2], [[1, 2], 3, 4]),
    ],
)
def test_json_data_nested_otherwise_than_its_shape_is_refused(shape: list[int], data: object) -> None:
    with pytest.raises(WireError, match=r"inputs\[0\]\.data"):
        tensor_of_json({"datatype": "FP32", "shape": shape, "data": data}, "inputs[0]")


def test_a_deep_nest_of_the_right_number_of_elements_is_refused_without_recursion() -> None:
    deep: object = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(WireError, match="nested 2 deep at most"):
        tensor_of_json({"datatype": "FP32", "shape": [1, 1], "data": deep}, "inputs[0]")


@pytest.mark.parametrize(
    ("datatype", "raw"),
    [
        ("FP32", b"123"),
        ("BOOL", b"\x02"),
        ("BYTES", b"\x05\x00\x00\x00abc"),
        ("BYTES", b"\x05\x00"),
        ("BYTES", b""),
        ("BYTES", struct.pack("<I1sI1s", 1, b"a", 1, b"b")),
        ("BYTES", b"\0" * 400_000),
        ("BYTES", b"\xff\xff\xff\xff"),
    ],
)
def test_raw_data_of_another_length_is_refused(datatype: str, raw: bytes) -> None:
    with pytest.raises(WireError, match=r"inputs\[0\]"):
        tensor_of_raw(memoryview(raw), datatype, (1,), "inputs[0]")


@pytest.mark.parametrize("length", ["-1", "x", "99", "1e1", "٣", "9" * 30])
def test_a_head_length_that_is_no_length_is_refused(length: str) -> None:
    with pytest.raises(WireError, match=HEAD_LENGTH):
        split_body(b'{"a": 1}', length)


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b"\xff", b"[" * 5000, b'{"a": NaN}'])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(WireError, match="body"):
        split_body(body, None)


def test_raw_bytes_of_a_tensor_are_row_major_whatever_its_layout() -> None:
    tensor = np.arange(6, dtype=np.int16).reshape(2, 3)
    assert raw_of_tensor(np.asfortranarray(tensor)) == tensor.tobytes()
