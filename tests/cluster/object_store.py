"""MinIO: a real S3 server as a plain process."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minio import Minio

from .control_plane import LOOPBACK, Json, answers, free_ports
from .processes import Processes

ARTIFACTS = "artifacts"


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A running server; `endpoint` is host:port, spoken to without TLS."""

    endpoint: str
    access_key: str
    secret_key: str

    def client(self) -> Minio:
        """A client with the server's keys."""
        return Minio(self.endpoint, self.access_key, self.secret_key, secure=False)

    def make_bucket(self, name: str = "") -> str:
        """Make a bucket, of a new name if none is given, and give its name."""
        bucket = name or f"bucket-{secrets.token_hex(4)}"
        self.client().make_bucket(bucket)
        return bucket

    def environment(self) -> dict[str, str]:
        """The variables with which `reelspace` reaches the server at `s3://bucket/prefix`."""
        keys = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        return {"REELSPACE_S3_ENDPOINT": f"http://{self.endpoint}", **keys}

    def secret(self) -> Json:
        """The Secret with the keys, for the namespace of a test: `store-keys` with `access` and `secret`."""
        values = {"access": self.access_key, "secret": self.secret_key}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store-keys"}, "stringData": values}

    def repository(self, bucket: str) -> Json:
        """A bucket as Argo's artifact repository; logs of steps go there too."""
        keys = {f"{kind}KeySecret": {"name": "store-keys", "key": kind} for kind in ("access", "secret")}
        return {"archiveLogs": True, "s3": {"bucket": bucket, "endpoint": self.endpoint, "insecure": True, **keys}}


@contextmanager
def object_store(folder: Path, host: str = LOOPBACK) -> Iterator[ObjectStore]:
    """Start a server with its objects in `folder`, and end it."""
    port, console_port = free_ports(2)
    store = ObjectStore(f"{host}:{port}", "tester", secrets.token_hex(16))
    with Processes(folder / "logs") as processes:
        keys = {"MINIO_ROOT_USER": store.access_key, "MINIO_ROOT_PASSWORD": store.secret_key}
        processes.start(
            "minio",
            "server",
            "--quiet",
            f"--address={store.endpoint}",
            f"--console-address={LOOPBACK}:{console_port}",
            folder / "objects",
            env={**keys, "MINIO_BROWSER": "off", "MINIO_UPDATE": "off"},
        )
        processes.wait_until(lambda: answers(f"http://{store.endpoint}/minio/health/ready"), "object store")
        yield store
