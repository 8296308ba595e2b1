"""An S3 server of this machine: MinIO, whose binary REELSPACE_MINIO names, else moto."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from minio import Minio

from benchmarks.search_peers.processes import Server, free_ports, listens, start_server

BUCKET: Final = "store"
KEYS: Final[Mapping[str, str]] = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing-secret"}


def start_s3(folder: Path) -> Server:
    """Start the server with an empty bucket; its place has `port` and `kind`.

    Raises:
        NotHere: it does not start.
    """
    port, console = free_ports(2)
    binary, variables = os.environ.get("REELSPACE_MINIO"), dict(os.environ)
    place = {"port": port, "kind": "minio" if binary else "moto"}
    if binary:
        addresses = ["--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}"]
        command = [binary, "server", "--quiet", *addresses, str(folder / "objects")]
        variables |= {"MINIO_ROOT_USER": KEYS["AWS_ACCESS_KEY_ID"], "MINIO_ROOT_PASSWORD": KEYS["AWS_SECRET_ACCESS_KEY"]}
        variables |= {"MINIO_BROWSER": "off", "MINIO_UPDATE": "off"}
    else:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = start_server(command, folder, place, ready=lambda _: listens(port), env=variables)
    key, secret = KEYS.values()
    Minio(f"127.0.0.1:{port}", access_key=key, secret_key=secret, secure=False).make_bucket(BUCKET)
    return server


def variables_of(port: int) -> dict[str, str]:
    """Give the environment by which our programs find a bucket of the server, or of a proxy before it."""
    return {**KEYS, "REELSPACE_S3_ENDPOINT": f"http://127.0.0.1:{port}"}
