"""A collection in a real S3 server: MinIO, whose binary REELSPACE_MINIO names (../shared/testbed builds one)."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from reelspace.core.processes import child, stop

from .s3_collection import KEYS, check_collection, made_bucket

START_S = 60.0


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A prefix in a bucket of a fresh server, with the environment that opens it."""
    binary = os.environ.get("REELSPACE_MINIO")
    if not binary:
        pytest.skip("REELSPACE_MINIO does not name the binary of MinIO")
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
        port, console = first.getsockname()[1], second.getsockname()[1]
    settings = {
        "MINIO_ROOT_USER": KEYS["AWS_ACCESS_KEY_ID"],
        "MINIO_ROOT_PASSWORD": KEYS["AWS_SECRET_ACCESS_KEY"],
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }
    command = [binary, "server", "--quiet", "--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}"]
    server = child([*command, str(tmp_path / "objects")], env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield made_bucket(port, monkeypatch)
    finally:
        stop(server)


def _wait_for(port: int) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        try:
            if urllib3.request("GET", f"http://127.0.0.1:{port}/minio/health/live", retries=False).status == 200:
                return
        except urllib3.exceptions.HTTPError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"MinIO did not answer within {START_S:g} s")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_collection_in_minio_equals_a_dict_through_writes_rebuilds_restarts_and_snapshots(url: str, tmp_path: Path) -> None:
    check_collection(url, tmp_path)
