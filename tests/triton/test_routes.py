import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
import tritonclient.http as tritonhttp

from reelspace.serving.triton import TritonProcess
from reelspace.serving.upstream import fetch_signatures
from reelspace.serving.wire import HEAD_LENGTH, decode_answer, encode_request

from .doubling import BACKENDS, descendants, name_of, write_doubling
from .gateway import running_gateway

GOOD = {"inputs": [{"name": "X", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonProcess]:
    directory = tmp_path_factory.mktemp("triton")
    repository = write_doubling(write_doubling(directory / "repository"), "shard-videos-0")
    with TritonProcess.start([repository], ["doubling", "shard-videos-0"], backends=BACKENDS, log_path=directory / "log") as running:
        yield running


@pytest.fixture(scope="module")
def url(server: TritonProcess) -> Iterator[str]:
    with running_gateway(server.http_url, fetch_signatures(server.http_url, ["doubling"])) as address:
        yield address


def infer(url: str, body: bytes | dict[str, Any], **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return httpx.post(
        f"{url}/v2/models/doubling/infer", content=content, headers={key.replace("_", "-"): value for key, value in headers.items()}
    )


def test_json_request_gets_a_json_answer_naming_model_version_and_id(url: str) -> None:
    answer = infer(url, {**GOOD, "id": "r-1"})
    assert answer.json() == {
        "model_name": "doubling",
        "model_version": "1",
        "id": "r-1",
        "outputs": [{"name": "Y", "datatype": "FP32", "shape": [1, 2], "data": [2.0, 4.0]}],
    }


def test_binary_request_gets_a_binary_answer(url: str) -> None:
    message = encode_request({"X": np.array([[1, 2], [3, 4]], dtype=np.float32)})
    response = httpx.post(f"{url}/v2/models/doubling/infer", content=message.body, headers=message.headers)
    answer = decode_answer(response.content, response.headers[HEAD_LENGTH])
    np.testing.assert_array_equal(answer.outputs["Y"], [[2, 4], [6, 8]])


def test_a_third_party_client_works_through_the_gateway(url: str) -> None:
    client = tritonhttp.InferenceServerClient(url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("doubling")
    assert client.get_server_metadata()["name"] == "reelspace"
    assert client.get_model_metadata("doubling")["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 2]}]
    for binary in (True, False):
        wanted = tritonhttp.InferInput("X", [3, 2], "FP32")
        wanted.set_data_from_numpy(np.arange(6, dtype=np.float32).reshape(3, 2), binary_data=binary)
        result = client.infer("doubling", [wanted], outputs=[tritonhttp.InferRequestedOutput("Y", binary_data=binary)])
        np.testing.assert_array_equal(result.as_numpy("Y"), 2 * np.arange(6).reshape(3, 2))
    client.close()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/models/shard-videos-0/infer"),
        ("GET", "/v2/models/shard-videos-0"),
        ("GET", "/v2/models/shard-videos-0/ready"),
        ("POST", "/v2/models/absent/infer"),
        ("POST", "/v2/repository/models/doubling/unload"),
        ("POST", "/v2/repository/models/doubling/load"),
        ("POST", "/v2/repository/index"),
        ("GET", "/v2/models/doubling/stats"),
        ("GET", "/v2/systemsharedmemory/status"),
        ("POST", "/v2/systemsharedmemory/region/r/register"),
        ("POST", "/v2/models/doubling/trace/setting"),
        ("POST", "/v2/logging"),
        ("POST", "/v2/models/..%2Frepository%2Fmodels%2Fdoubling%2Funload/infer"),
        ("POST", "/v2/models/doubling/../shard-videos-0/infer"),
    ],
)
def test_nothing_but_inference_of_listed_models_can_be_reached(url: str, server: TritonProcess, method: str, path: str) -> None:
    response = httpx.request(method, url + path, json=GOOD if method == "POST" else None)
    assert response.status_code in (403, 404)
    assert response.json()["field"] in ("model", "call")
    server.probe("doubling")
    server.probe("shard-videos-0")


BAD: list[tuple[str, Any, dict[str, str], int]] = [
    ("body", b"", {}, 400),
    ("body", b"{", {}, 400),
    ("body", b"[]", {}, 400),
    ("body", b"[" * 60_000, {}, 400),
    ("inputs", {}, {}, 400),
    ("inputs[0].shape", {"inputs": [{**GOOD["inputs"][0], "shape": [9, 2]}]}, {}, 400),
    ("inputs[0].data", {"inputs": [{**GOOD["inputs"][0], "data": [1e39, 1]}]}, {}, 400),
    ("inputs[0].datatype", {"inputs": [{**GOOD["inputs"][0], "datatype": "INT8"}]}, {}, 400),
    (
        "inputs[0].parameters.shared_memory_region",
        {"inputs": [{**GOOD["inputs"][0], "parameters": {"shared_memory_region": "x"}}]},
        {},
        400,
    ),
    (HEAD_LENGTH, GOOD, {HEAD_LENGTH: "x"}, 400),
    ("Content-Encoding", GOOD, {"Content-Encoding": "gzip"}, 400),
    ("X", {"inputs": [{**GOOD["inputs"][0], "data": [-1, 1]}]}, {}, 400),
    ("body", b" " * 2_000_000, {}, 413),
]


@pytest.mark.parametrize(("field", "body", "headers", "status"), BAD, ids=[f"{number}-{row[0]}" for number, row in enumerate(BAD)])
def test_a_bad_request_is_4xx_naming_the_field(url: str, field: str, body: Any, headers: dict[str, str], status: int) -> None:
    response = infer(url, body, **headers)
    assert response.status_code == status
    assert set(response.json()) == {"error", "field"}
    assert response.json()["field"] == field
    assert response.json()["error"].startswith(field)


def test_a_body_without_a_declared_length_is_limited_too(url: str) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 65_536

    assert httpx.post(f"{url}/v2/models/doubling/infer", content=endless()).status_code == 413


def test_the_promoted_version_answers_though_a_newer_one_is_loaded(tmp_path: Path) -> None:
    repository = write_doubling(tmp_path / "repository", versions=(2, 3))
    with TritonProcess.start([repository], ["doubling"], backends=BACKENDS, log_path=tmp_path / "log") as server:
        signatures = fetch_signatures(server.http_url, ["doubling"])
        with running_gateway(server.http_url, signatures, {"doubling": 2}) as url:
            assert infer(url, GOOD).json()["model_version"] == "2"
            assert httpx.get(f"{url}/v2/models/doubling").json()["versions"] == ["2"]
            assert httpx.get(f"{url}/v2/models/doubling/ready").status_code == 200
        with running_gateway(server.http_url, signatures, {"doubling": 4}) as url:
            gone = infer(url, GOOD)
            assert (gone.status_code, httpx.get(f"{url}/v2/health/ready").status_code) == (503, 503)
        with running_gateway(server.http_url, signatures) as url:
            assert infer(url, GOOD).json()["model_version"] == "3"


def test_a_dead_model_is_503_and_not_ready_while_others_answer(tmp_path: Path) -> None:
    repository = write_doubling(write_doubling(tmp_path / "repository"), "other")
    with TritonProcess.start([repository], ["doubling", "other"], backends=BACKENDS, log_path=tmp_path / "log") as server:
        signatures = fetch_signatures(server.http_url, ["doubling", "other"])
        stubs = [pid for pid in descendants(server.pid) if name_of(pid).startswith("triton_python")]
        doubling = next(pid for pid in stubs if b"doubling_0" in Path(f"/proc/{pid}/cmdline").read_bytes())
        with running_gateway(server.http_url, signatures) as url:
            os.kill(doubling, signal.SIGKILL)
            dead = infer(url, GOOD)
            assert (dead.status_code, dead.headers["Retry-After"]) == (503, "1")
            assert "model doubling failed" in dead.json()["error"]
            assert httpx.get(f"{url}/v2/health/live").status_code == 200
            assert httpx.get(f"{url}/v2/health/ready").status_code == 503
            assert httpx.get(f"{url}/v2/models/doubling/ready").status_code == 503
            assert httpx.get(f"{url}/v2/models/other/ready").status_code == 200
        with running_gateway(server.http_url, signatures) as url:
            server.stop()
            assert infer(url, GOOD).status_code == 503
            assert httpx.get(f"{url}/v2/models/doubling").status_code == 503
