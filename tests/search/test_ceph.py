"""A collection in a second, independent S3 server: Ceph's, from Debian's packages; see ceph.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .ceph import ceph_gateway, unpacked_ceph
from .s3_collection import KEYS, check_collection, made_bucket


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A prefix in a bucket of a fresh server, with the environment that opens it."""
    root, folder = unpacked_ceph(), tmp_path / "ceph"
    folder.mkdir()
    with ceph_gateway(root, folder, KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]) as port:
        yield made_bucket(port, monkeypatch)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_collection_in_ceph_equals_a_dict_through_writes_rebuilds_restarts_and_snapshots(url: str, tmp_path: Path) -> None:
    check_collection(url, tmp_path)
