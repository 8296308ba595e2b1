"""MinIO on this machine: the binary that REELSPACE_MINIO names, or the one of the cluster tests (make cluster-tools)."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3

from reelspace.core.processes import child, stop

from .s3_collection import KEYS

START_S = 60.0
BINARY = Path.home() / ".cache/reelspace-cluster/bin/minio"


@contextmanager
def minio_server(folder: Path) -> Iterator[int]:
    """Start a fresh server and give its port; the test is skipped without a binary."""
    binary = os.environ.get("REELSPACE_MINIO") or (str(BINARY) if BINARY.exists() else "")
    if not binary:
        pytest.skip(f"REELSPACE_MINIO does not name the binary of MinIO, and {BINARY} is not there (make cluster-tools)")
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
    server = child([*command, str(folder / "objects")], env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield port
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
