"""Triton loads a repository straight from an object store."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import httpx
import minio
import orjson
import pytest

from reelspace.core.artifacts import read_manifest_file, write_artifact
from reelspace.core.errors import ServerUnavailable
from reelspace.core.store import open_store
from reelspace.search.scheduling.repository import publish_encoders
from reelspace.serving.triton import Ports, TritonProcess

from .conftest import Exported
from .doubling import BACKENDS, until, write_doubling

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing-secret", "AWS_DEFAULT_REGION": "us-east-1"}
MODEL = "text_encoder"


@pytest.fixture
def endpoint() -> Iterator[str]:
    port = Ports.free().http
    server = subprocess.Popen(
        [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        env={**os.environ, **KEYS},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(url, trust_env=False).status_code < 500
        except httpx.TransportError:
            return False

    assert until(answers, 30)
    yield url
    server.terminate()
    server.wait()


def test_a_model_is_served_from_s3(endpoint: str, tmp_path: Path) -> None:
    client = minio.Minio(
        endpoint.removeprefix("http://"), KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"], secure=False, region="us-east-1"
    )
    client.make_bucket("store")
    local = write_doubling(tmp_path / "repository")
    (local / "doubling" / "1" / "data").write_text("x")
    for path in local.rglob("*"):
        if path.is_file():
            client.fput_object("store", f"team/repository/{path.relative_to(local)}", str(path))
    environment = {**KEYS, "REELSPACE_S3_ENDPOINT": endpoint}
    log = tmp_path / "log"
    with TritonProcess.start(["s3://store/team/repository"], ["doubling"], environment, backends=BACKENDS, log_path=log) as server:
        server.probe("doubling")


@pytest.mark.long
def test_promotions_of_an_encoder_are_counted_in_s3_and_a_damaged_one_is_refused(
    endpoint: str, exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (KEYS | {"REELSPACE_S3_ENDPOINT": endpoint}).items():
        monkeypatch.setenv(name, value)
    assert httpx.put(f"{endpoint}/store").status_code == 200
    store = open_store("s3://store/team")
    copytree(exported.models / MODEL, tmp_path / "models" / MODEL)
    repositories = [
        write_artifact(store, "repository", tmp_path / "models", parents=(), code="", settings={"number": number}) for number in (1, 2, 3)
    ]
    serving = publish_encoders(store, repositories[0], {})
    with TritonProcess.start(["s3://store/team/repository"], [MODEL], log_path=tmp_path / "log") as server:
        answer = answered(server, 1)
        serving = publish_encoders(store, repositories[1], serving)
        server.load(MODEL)
        assert answered(server, 1) == answered(server, 2) == answer
        facts = orjson.loads(store.get(f"repository/{MODEL}/2/version.json"))
        assert facts["artifact_id"] == read_manifest_file(exported.teacher).id
        assert publish_encoders(store, repositories[2], serving) == {MODEL: 3}
        graph = f"repository/{MODEL}/3/model.onnx"
        store.put(graph, store.get(graph)[:-1] + b"\0")
        with pytest.raises(ServerUnavailable, match=r"3/model\.onnx: expected SHA-256"):
            server.load(MODEL)
        assert answered(server, 2) == answer


def answered(server: TritonProcess, version: int) -> object:
    body = {"inputs": [{"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": ["ramen"]}]}
    response = httpx.post(f"{server.http_url}/v2/models/{MODEL}/versions/{version}/infer", json=body)
    assert response.status_code == 200, response.text
    return response.json()["outputs"]
