"""The V2 protocol over gRPC: the messages that HTTP's requests are, and Triton's own client unchanged."""

import asyncio
import struct

import grpc
import numpy as np
import pytest
import tritonclient.grpc as tritongrpc
import tritonclient.grpc.aio as tritonaio
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from .double import Double
from .served import Served, x_message


def answered(served: Served, method: str, request: object, kind: str) -> object:
    data = served.call(method, request.SerializeToString())  # type: ignore[attr-defined]
    assert isinstance(data, bytes), data
    return getattr(service_pb2, kind).FromString(data)


def test_health_and_metadata_say_what_http_says(served: Served) -> None:
    assert answered(served, "ServerLive", service_pb2.ServerLiveRequest(), "ServerLiveResponse").live
    assert answered(served, "ServerReady", service_pb2.ServerReadyRequest(), "ServerReadyResponse").ready
    assert answered(served, "ModelReady", service_pb2.ModelReadyRequest(name="doubling"), "ModelReadyResponse").ready
    server = answered(served, "ServerMetadata", service_pb2.ServerMetadataRequest(), "ServerMetadataResponse")
    over_http = served.http.get("/v2").json()
    assert (server.name, server.version, list(server.extensions)) == tuple(over_http[key] for key in ("name", "version", "extensions"))
    model = answered(served, "ModelMetadata", service_pb2.ModelMetadataRequest(name="text_encoder"), "ModelMetadataResponse")
    over_http = served.http.get("/v2/models/text_encoder").json()
    for ours, theirs in ((model.inputs, over_http["inputs"]), (model.outputs, over_http["outputs"])):
        assert [{"name": one.name, "datatype": one.datatype, "shape": list(one.shape)} for one in ours] == theirs
    assert (model.name, list(model.versions), model.platform) == ("text_encoder", ["3"], "reelspace")
    config = answered(served, "ModelConfig", service_pb2.ModelConfigRequest(name="doubling"), "ModelConfigResponse").config
    assert (config.max_batch_size, config.input[0].name, list(config.input[0].dims)) == (8, "X", [2])


@pytest.mark.parametrize("is_raw", [True, False])
def test_raw_and_typed_contents_give_the_same_answer(served: Served, is_raw: bool) -> None:
    message = x_message(struct.pack("<2f", 0.25, 3) if is_raw else None, id="r-1")
    if not is_raw:
        message.inputs[0].contents.fp32_contents.extend([0.25, 3])
    answer = answered(served, "ModelInfer", message, "ModelInferResponse")
    assert (answer.model_name, answer.model_version, answer.id) == ("doubling", "2", "r-1")
    assert [(one.name, one.datatype, list(one.shape)) for one in answer.outputs] == [("Y", "FP32", [1, 2])]
    assert [struct.unpack("<2f", raw) for raw in answer.raw_output_contents] == [(0.5, 6)]


def test_texts_chosen_outputs_and_the_space_come_through(served: Served) -> None:
    message = service_pb2.ModelInferRequest(model_name="text_encoder", model_version="3")
    message.inputs.add(name="TEXT", datatype="BYTES", shape=[2, 1]).contents.bytes_contents.extend([b"ab", "拉麵".encode()])
    message.outputs.add(name="EMBEDDING")
    answer = answered(served, "ModelInfer", message, "ModelInferResponse")
    assert [one.name for one in answer.outputs] == ["EMBEDDING"]
    assert struct.unpack("<4f", answer.raw_output_contents[0]) == (2, 1, 6, 1)
    assert answer.parameters["space_id"].string_param == "space-1"


def test_versions_are_checked_as_over_http(served: Served, double: Double) -> None:
    assert answered(served, "ModelInfer", x_message(model_version="1"), "ModelInferResponse").model_version == "1"
    came = len(double.came)
    refused = served.call("ModelInfer", x_message(model_version="7").SerializeToString())
    assert isinstance(refused, grpc.RpcError)
    assert (refused.code(), refused.details()) == (grpc.StatusCode.NOT_FOUND, "version: expected one of 1, 2, got '7'")
    assert len(double.came) == came


def test_a_failing_model_is_unavailable_and_what_it_calls_wrong_an_invalid_argument(served: Served) -> None:
    failed = served.call("ModelInfer", x_message(struct.pack("<2f", 500, 1)).SerializeToString())
    wrong = served.call("ModelInfer", x_message(struct.pack("<2f", -1, 1)).SerializeToString())
    assert isinstance(failed, grpc.RpcError)
    assert isinstance(wrong, grpc.RpcError)
    assert (failed.code(), dict(failed.trailing_metadata())["retry-after"]) == (grpc.StatusCode.UNAVAILABLE, "1")
    assert (wrong.code(), wrong.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "X: expected no negative number")


def test_streams_and_statistics_are_unimplemented_by_name(served: Served) -> None:
    for method in ("ModelStreamInfer", "ModelStatistics"):
        refused = served.call(method, b"")
        assert isinstance(refused, grpc.RpcError)
        assert refused.code() == grpc.StatusCode.UNIMPLEMENTED
        assert method in refused.details()


def text_input(module: object) -> object:
    wanted = module.InferInput("TEXT", [2, 1], "BYTES")  # type: ignore[attr-defined]
    wanted.set_data_from_numpy(np.array([["ab"], ["拉麵"]], dtype=np.object_))
    return wanted


def test_tritons_own_client_works_unchanged(served: Served) -> None:
    client = tritongrpc.InferenceServerClient(served.grpc_address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("doubling", "1")
    assert client.get_server_metadata().name == "reelspace"
    assert list(client.get_model_metadata("doubling", "2").versions) == ["2"]
    assert client.get_model_config("text_encoder", as_json=True)["config"]["max_batch_size"] == 32
    outputs = [tritongrpc.InferRequestedOutput("EMBEDDING")]
    for compression in (None, "gzip", "deflate"):
        result = client.infer(
            model_name="text_encoder",
            inputs=[text_input(tritongrpc)],
            outputs=outputs,
            request_id="r",
            timeout=5_000_000,
            client_timeout=20,
            compression_algorithm=compression,
        )
        np.testing.assert_array_equal(result.as_numpy("EMBEDDING"), [[2, 1], [6, 1]])
        assert (result.get_response().id, result.get_response().model_version) == ("r", "3")
    with pytest.raises(InferenceServerException, match="model: expected one of doubling, text_encoder, got 'absent'"):
        client.infer("absent", [text_input(tritongrpc)])
    client.close()


def test_tritons_own_asyncio_client_works_unchanged(served: Served) -> None:
    async def ask() -> None:
        async with tritonaio.InferenceServerClient(served.grpc_address) as client:
            asked = [client.infer("text_encoder", [text_input(tritonaio)]) for _ in range(20)]
            for result in await asyncio.gather(*asked):
                np.testing.assert_array_equal(result.as_numpy("SPACE_ID"), [[b"space-1"]] * 2)

    asyncio.run(ask())
