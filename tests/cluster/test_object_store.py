"""MinIO as tests get it."""

import io

import pytest

from reelspace.core.errors import PreconditionFailed
from reelspace.core.store import open_store

from .object_store import ObjectStore

pytestmark = pytest.mark.cluster


def test_bytes_come_back(object_store: ObjectStore) -> None:
    bucket = object_store.make_bucket()
    object_store.client().put_object(bucket, "some/key", io.BytesIO(b"content"), 7)
    assert object_store.client().get_object(bucket, "some/key").read() == b"content"


def test_our_store_opens_it_and_its_conditional_writes_hold(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = object_store.make_bucket()
    for name, value in object_store.environment().items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://{bucket}/prefix")
    store.put_if_absent("key", b"first")
    with pytest.raises(PreconditionFailed):
        store.put_if_absent("key", b"second")
    assert store.get("key") == b"first"
