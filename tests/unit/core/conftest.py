"""Real stores for the tests: a directory, and a bucket on a moto server started as a child process."""

import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from reelspace.core.store import Store, open_store

START_TIMEOUT_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _wait_for(endpoint, server)
        yield endpoint
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def s3_url(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix in a fresh bucket, with the environment that opens it."""
    bucket = f"bucket-{secrets.token_hex(4)}"
    assert urllib3.request("PUT", f"{s3_endpoint}/{bucket}").status == 200
    monkeypatch.setenv("REELSPACE_S3_ENDPOINT", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return f"s3://{bucket}/some/prefix"


@pytest.fixture(params=["local", "s3"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "local" else str(request.getfixturevalue("s3_url"))


@pytest.fixture
def store(store_url: str) -> Store:
    return open_store(store_url)


def _wait_for(endpoint: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert server.poll() is None, "moto_server ended at once"
        try:
            urllib3.request("GET", endpoint, retries=False, timeout=2.0)
        except urllib3.exceptions.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"moto_server did not answer within {START_TIMEOUT_S} s")
