"""A collection in a real S3 server: MinIO; see minio_server.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .minio_server import minio_server
from .s3_collection import check_collection, made_bucket


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A prefix in a bucket of a fresh server, with the environment that opens it."""
    with minio_server(tmp_path) as port:
        yield made_bucket(port, monkeypatch)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_collection_in_minio_equals_a_dict_through_writes_rebuilds_restarts_and_snapshots(url: str, tmp_path: Path) -> None:
    check_collection(url, tmp_path)
