"""Requests with a file in them: bytes that are no words, up to the limit of the model, over both faces; and the file of a probe."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from tritonclient.grpc import service_pb2

from reelspace.serving.infer_message import parse_message
from reelspace.serving.infer_request import InferRequest, max_body_bytes, parse_request
from reelspace.serving.probe import PICTURE, probe_request
from reelspace.serving.signatures import EncoderSizes, media_signature
from reelspace.serving.wire import HEAD_LENGTH, WireError, encode_request, raw_of_tensor, text_tensor

LIMIT = 2_000
SIGNATURE = media_signature("media_encoder", EncoderSizes(dimension=4), 3, LIMIT)
BYTES = bytes(range(256)) + b"\0\xff\xfe"
Send = Callable[[bytes], InferRequest]


def over_http(data: bytes) -> InferRequest:
    message = encode_request(tensors(data))
    return parse_request(message.body, message.headers[HEAD_LENGTH], SIGNATURE)


def over_grpc_raw(data: bytes) -> InferRequest:
    message = service_pb2.ModelInferRequest(model_name="media_encoder")
    for name, tensor in tensors(data).items():
        message.inputs.add(name=name, datatype="BYTES", shape=[1, 1])
        message.raw_input_contents.append(raw_of_tensor(tensor))
    return parse_message(message, SIGNATURE)


def over_grpc(data: bytes) -> InferRequest:
    message = service_pb2.ModelInferRequest(model_name="media_encoder")
    for name, tensor in tensors(data).items():
        message.inputs.add(name=name, datatype="BYTES", shape=[1, 1]).contents.bytes_contents.append(tensor[0, 0])
    return parse_message(message, SIGNATURE)


def tensors(data: bytes) -> "dict[str, np.ndarray[tuple[int, ...], np.dtype[np.object_]]]":
    media_B1 = np.empty((1, 1), dtype=np.object_)
    media_B1[0, 0] = data
    return {"MEDIA": media_B1, "TEXT": text_tensor(["words"])}


@pytest.mark.parametrize("send", [over_http, over_grpc_raw, over_grpc])
def test_any_bytes_may_be_a_file(send: Send) -> None:
    assert send(BYTES).inputs["MEDIA"].tolist() == [[BYTES]]
    assert send(b"").inputs["MEDIA"].tolist() == [[b""]]


@pytest.mark.parametrize("send", [over_http, over_grpc_raw, over_grpc])
def test_a_file_may_have_as_many_bytes_as_the_model_takes_and_no_more(send: Send) -> None:
    assert send(bytes(LIMIT)).inputs["MEDIA"][0, 0] == bytes(LIMIT)
    with pytest.raises(WireError, match=f"MEDIA holds at most {LIMIT} bytes per element, got {LIMIT + 1}"):
        send(bytes(LIMIT + 1))


def test_a_body_may_hold_a_full_batch_of_files_but_never_more_than_triton_takes() -> None:
    assert max_body_bytes(SIGNATURE) > SIGNATURE.max_batch * LIMIT
    assert max_body_bytes(media_signature("m", EncoderSizes(), 0, 56 << 20)) == 64 << 20


def test_a_probe_holds_a_picture_that_can_be_decoded() -> None:
    assert np.asarray(Image.open(io.BytesIO(PICTURE))).shape == (8, 8)
    message = probe_request(SIGNATURE)
    request = parse_request(message.body, message.headers[HEAD_LENGTH], SIGNATURE)
    assert request.inputs["MEDIA"].tolist() == [[PICTURE]]
    assert request.inputs["TEXT"].tolist() == [[b"probe"]]
