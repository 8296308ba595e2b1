"""The V2 protocol over HTTP as its pages describe it: paths, JSON and binary tensors, ids, chosen outputs, versions."""

import json
import struct
from typing import Any

import numpy as np
import pytest
import tritonclient.http as tritonhttp
from tritonclient.utils import InferenceServerException

from .double import Double
from .served import Served, X

HEAD_LENGTH = "Inference-Header-Content-Length"
TEXT = {"name": "TEXT", "shape": [2, 1], "datatype": "BYTES", "data": ["ab", "拉麵"]}


@pytest.mark.parametrize(
    "path", ["/v2/health/live", "/v2/health/ready", "/v2/models/doubling/ready", "/v2/models/doubling/versions/2/ready"]
)
def test_health_is_an_empty_200(served: Served, path: str) -> None:
    answer = served.http.get(path)
    assert (answer.status_code, answer.content) == (200, b"")


def test_metadata_names_the_server_its_extensions_and_the_tensors_of_a_model(served: Served) -> None:
    server = served.http.get("/v2").json()
    assert (server["name"], server["extensions"]) == ("reelspace", ["binary_tensor_data", "model_configuration"])
    assert served.http.get("/v2/models/text_encoder").json() == {
        "name": "text_encoder",
        "versions": ["3"],
        "platform": "reelspace",
        "inputs": [{"name": "TEXT", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [
            {"name": "EMBEDDING", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "SPACE_ID", "datatype": "BYTES", "shape": [-1, 1]},
        ],
        "parameters": {"max_batch_size": 32, "optional_inputs": []},
    }
    assert served.http.get("/v2/models/doubling").json()["versions"] == ["1", "2"]
    assert served.http.get("/v2/models/doubling/versions/2").json()["versions"] == ["2"]


def test_configuration_tells_tensors_and_the_largest_batch_and_nothing_of_the_server(served: Served) -> None:
    for path in ("/v2/models/doubling/config", "/v2/models/doubling/versions/1/config"):
        assert served.http.get(path).json() == {
            "name": "doubling",
            "platform": "reelspace",
            "max_batch_size": 8,
            "input": [{"name": "X", "data_type": "TYPE_FP32", "dims": [2], "optional": False}],
            "output": [{"name": "Y", "data_type": "TYPE_FP32", "dims": [2]}],
        }


@pytest.mark.parametrize("data", [[1, 2, 3, 4.5], [[1, 2], [3, 4.5]]])
def test_json_tensors_may_be_flat_or_nested_as_their_shape_is(served: Served, data: list[Any]) -> None:
    answer = served.infer({"id": "r-1", "inputs": [{**X, "shape": [2, 2], "data": data}]})
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {
        "model_name": "doubling",
        "model_version": "2",
        "id": "r-1",
        "outputs": [{"name": "Y", "datatype": "FP32", "shape": [2, 2], "data": [2, 4, 6, 9]}],
    }


def test_binary_tensors_lie_behind_the_head_both_ways(served: Served) -> None:
    head = {"inputs": [{**X, "parameters": {"binary_data_size": 8}}], "outputs": [{"name": "Y", "parameters": {"binary_data": True}}]}
    del head["inputs"][0]["data"]
    encoded = json.dumps(head).encode()
    answer = served.infer(encoded + struct.pack("<2f", 0.25, -3), Inference_Header_Content_Length=str(len(encoded)))
    assert answer.headers["Content-Type"] == "application/octet-stream"
    length = int(answer.headers[HEAD_LENGTH])
    assert json.loads(answer.content[:length])["outputs"] == [
        {"name": "Y", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    ]
    assert struct.unpack("<2f", answer.content[length:]) == (0.5, -6)


def test_one_answer_may_have_a_json_and_a_binary_tensor_and_leaves_out_what_was_not_asked_for(served: Served) -> None:
    outputs = [{"name": "SPACE_ID", "parameters": {"binary_data": False}}, {"name": "EMBEDDING"}]
    request = {"inputs": [TEXT], "outputs": outputs, "parameters": {"binary_data_output": True}}
    answer = served.infer(request, "text_encoder")
    length = int(answer.headers[HEAD_LENGTH])
    head = json.loads(answer.content[:length])
    assert [(one["name"], one.get("data")) for one in head["outputs"]] == [("SPACE_ID", ["space-1", "space-1"]), ("EMBEDDING", None)]
    assert struct.unpack("<4f", answer.content[length:]) == (2, 1, 6, 1)
    assert (head["parameters"], head["model_version"]) == ({"space_id": "space-1"}, "3")
    alone = served.infer(request | {"outputs": outputs[:1]}, "text_encoder").json()
    assert [one["name"] for one in alone["outputs"]] == ["SPACE_ID"]


def test_versions_are_the_promoted_one_or_one_that_triton_has(served: Served, double: Double) -> None:
    assert served.infer({"inputs": [X]}, "doubling/versions/1").json()["model_version"] == "1"
    served.infer({"inputs": [TEXT]}, "text_encoder")
    assert served.infer({"inputs": [TEXT]}, "text_encoder/versions/3").status_code == 200
    assert [one.version for one in double.came[-3:]] == ["1", "3", "3"]
    other = served.infer({"inputs": [TEXT]}, "text_encoder/versions/2")
    assert (other.status_code, other.json()["error"]) == (404, "version: expected one of 3, got '2'")


def test_triton_is_asked_anew_with_nothing_of_the_clients_own(served: Served, double: Double) -> None:
    body = {"id": "secret", "inputs": [X], "outputs": [{"name": "Y"}]}
    served.infer(body, Cookie="a=b", X_Forwarded_For="1.2.3.4", Authorization="Bearer word")
    came = double.came[-1]
    assert came.head == {
        "inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}],
        "outputs": [{"name": "Y", "parameters": {"binary_data": True}}],
    }
    assert not {"cookie", "x-forwarded-for", "authorization"} & set(came.headers)


@pytest.mark.parametrize("value", [404, 500])
def test_a_model_that_answers_otherwise_than_its_signature_says_is_503(served: Served, value: int) -> None:
    answer = served.infer({"inputs": [{**X, "data": [value, 1]}]})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "model doubling" in answer.json()["error"]


def test_what_a_model_calls_wrong_is_400_naming_its_input(served: Served) -> None:
    answer = served.infer({"inputs": [{**X, "data": [-1, 1]}]})
    assert (answer.status_code, answer.json()) == (400, {"error": "X: expected no negative number", "field": "X"})


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_own_client_works_unchanged(served: Served, binary: bool) -> None:
    client = tritonhttp.InferenceServerClient(served.url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("doubling", "1")
    assert client.get_server_metadata()["name"] == "reelspace"
    assert client.get_model_metadata("doubling", "2")["versions"] == ["2"]
    assert client.get_model_config("text_encoder")["max_batch_size"] == 32
    wanted = tritonhttp.InferInput("TEXT", [2, 1], "BYTES")
    wanted.set_data_from_numpy(np.array([["ab"], ["拉麵"]], dtype=np.object_), binary_data=binary)
    outputs = [tritonhttp.InferRequestedOutput("EMBEDDING", binary_data=binary)]
    for asked in (outputs, None):
        result = client.infer("text_encoder", [wanted], outputs=asked, request_id="r", timeout=5_000_000)
        np.testing.assert_array_equal(result.as_numpy("EMBEDDING"), [[2, 1], [6, 1]])
        assert (result.get_response()["id"], result.get_response()["model_version"]) == ("r", "3")
    np.testing.assert_array_equal(client.async_infer("text_encoder", [wanted]).get_result().as_numpy("SPACE_ID"), [[b"space-1"]] * 2)
    with pytest.raises(InferenceServerException, match="model: expected one of doubling, text_encoder, got 'absent'"):
        client.infer("absent", [wanted])
    client.close()
