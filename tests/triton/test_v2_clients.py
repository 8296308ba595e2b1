"""Triton's own clients hear the same from the gateway as from Triton itself, over HTTP and gRPC."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as tritongrpc
import tritonclient.http as tritonhttp
from google.protobuf.json_format import MessageToDict
from tritonclient.utils import InferenceServerException

from .behind import Behind

FACES = {"http": tritonhttp, "grpc": tritongrpc}


@dataclass(frozen=True)
class Addresses:
    """Where Triton and the gateway before it listen, by face."""

    triton: dict[str, str]
    gateway: dict[str, str]


@pytest.fixture
def addresses(behind: Behind) -> Addresses:
    theirs = {"http": behind.triton.http_url.removeprefix("http://"), "grpc": behind.triton.grpc_address}
    return Addresses(theirs, {"http": behind.gateway.url.removeprefix("http://"), "grpc": behind.gateway.grpc_address})


@pytest.fixture(params=FACES)
def clients(request: pytest.FixtureRequest, addresses: Addresses) -> Iterator[tuple[Any, Any, Any]]:
    """The module of a face, a client of Triton and a client of the gateway."""
    module = FACES[request.param]
    both = [module.InferenceServerClient(one[request.param]) for one in (addresses.triton, addresses.gateway)]
    yield module, *both
    for client in both:
        client.close()


def as_dict(answer: Any) -> dict[str, Any]:
    given: dict[str, Any] = answer if isinstance(answer, dict) else MessageToDict(answer, preserving_proto_field_name=True)
    return given


def inferred(module: Any, client: Any, version: str, named: bool) -> tuple[dict[str, Any], Any]:
    wanted = module.InferInput("X", [3, 2], "FP32")
    wanted.set_data_from_numpy(np.arange(6, dtype=np.float32).reshape(3, 2))
    outputs = [module.InferRequestedOutput("Y")] if named else None
    result = client.infer("doubling", [wanted], model_version=version, request_id="r-1", outputs=outputs, timeout=9_000_000)
    response = as_dict(result.get_response())
    response.pop("raw_output_contents", None)
    return response, result.as_numpy("Y").tolist()


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("version", ["", "1"])
def test_answers_are_those_of_triton(clients: tuple[Any, Any, Any], version: str, named: bool) -> None:
    module, triton, gateway = clients
    expected = inferred(module, triton, version, named)
    assert inferred(module, gateway, version, named) == expected
    assert expected[1] == [[0, 2], [4, 6], [8, 10]]


def test_health_is_that_of_triton(clients: tuple[Any, Any, Any]) -> None:
    _, triton, gateway = clients
    for client in (triton, gateway):
        assert client.is_server_live()
        assert client.is_model_ready("doubling")
        assert client.is_model_ready("doubling", "1")


def test_metadata_is_that_of_triton_but_for_what_runs_the_model(clients: tuple[Any, Any, Any]) -> None:
    _, triton, gateway = clients
    theirs, ours = (as_dict(client.get_model_metadata("doubling")) for client in (triton, gateway))
    assert {key: ours[key] for key in ("name", "versions", "inputs", "outputs")} == {
        key: theirs[key] for key in ("name", "versions", "inputs", "outputs")
    }
    configs = [as_dict(client.get_model_config("doubling")) for client in (triton, gateway)]
    theirs, ours = (config.get("config", config) for config in configs)
    assert ours["max_batch_size"] == theirs["max_batch_size"]
    for kind in ("input", "output"):
        assert [(one["name"], one["data_type"], one["dims"]) for one in ours[kind]] == [
            (one["name"], one["data_type"], one["dims"]) for one in theirs[kind]
        ]


@pytest.mark.parametrize("shape", [(1, 3), (9, 2)])
def test_what_triton_refuses_is_refused_before_it(clients: tuple[Any, Any, Any], shape: tuple[int, int]) -> None:
    module, *both = clients
    wanted = module.InferInput("X", list(shape), "FP32")
    wanted.set_data_from_numpy(np.ones(shape, dtype=np.float32))
    messages = []
    for client in both:
        with pytest.raises(InferenceServerException) as refused:
            client.infer("doubling", [wanted])
        assert any(status in str(refused.value.status()) for status in ("400", "INVALID_ARGUMENT"))
        messages.append(refused.value.message())
    assert messages[1].startswith("inputs[0].shape: X has shape [1 to 8, 2]")
