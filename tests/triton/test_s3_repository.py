"""Triton loads a repository straight from an object store."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import minio
import pytest

from reelspace.serving.triton import Ports, TritonProcess

from .doubling import BACKENDS, until, write_doubling

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing-secret", "AWS_DEFAULT_REGION": "us-east-1"}


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
