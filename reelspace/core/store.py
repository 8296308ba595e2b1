"""The object store: what every place that holds bytes offers, and how one is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from reelspace.core.errors import SettingError
from reelspace.core.local_store import LocalStore


class Store(Protocol):
    """Named byte objects with atomic and conditional writes; keys are checked by `core.keys`."""

    url: str

    def get(self, key: str) -> bytes:
        """Read an object; ArtifactMissing if it is absent."""

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """Read an object and the tag that `put_if_match` compares."""

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Read exactly `length` bytes; CorruptArtifact if the object ends before."""

    def stream(self, key: str) -> Iterator[bytes]:
        """Read an object in chunks of some MiB."""

    def put(self, key: str, data: bytes) -> str:
        """Write or replace an object at once; returns its tag."""

    def put_if_absent(self, key: str, data: bytes) -> str:
        """Write an object that must not exist; PreconditionFailed if it does."""

    def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """Replace an object that must still have this tag; PreconditionFailed if it does not, or is absent."""

    def put_file(self, key: str, path: Path, sha256: str | None = None) -> None:
        """Write or replace an object from a file, streaming; CorruptArtifact, and no object, if its bytes have another SHA-256."""

    def get_file(self, key: str, path: Path) -> None:
        """Copy an object into a file, streaming; the file appears whole."""

    def exists(self, key: str) -> bool:
        """Tell whether an object exists."""

    def list(self, prefix: str) -> Iterator[str]:
        """Give the keys that start with the prefix, in byte order."""

    def delete(self, key: str) -> None:
        """Remove an object; an absent one is no error."""


def open_source(url: str) -> Store:
    """Open an `s3://bucket/prefix` of a user's for reading: as `open_store`, but nothing is written there, not even a probe."""
    # minio is optional: a laptop with a local store does not need it.
    from reelspace.core.s3_store import S3Place, S3Store

    return S3Store(S3Place.from_environment(url, os.environ))


def open_store(url: str) -> Store:
    """Open a directory, or `s3://bucket/prefix` with the endpoint and keys of the environment.

    S3 reads REELSPACE_S3_ENDPOINT (`http://host:port`; Amazon if unset), AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    AWS_SESSION_TOKEN and AWS_REGION, without keys the file AWS_SHARED_CREDENTIALS_FILE (again for every request), and tries once
    whether the server honours conditional writes.

    Raises:
        SettingError: the URL is empty or of another scheme, the file has no keys, or the server ignores conditional writes.
    """
    if not url:
        raise SettingError("the store's URL is empty: expected a directory or s3://bucket/prefix")
    if url.startswith("s3://"):
        # minio is optional: a laptop with a local store does not need it.
        from reelspace.core.s3_store import S3Place, S3Store

        store = S3Store(S3Place.from_environment(url, os.environ))
        store.probe()
        return store
    if "://" in url:
        raise SettingError(f"store {url!r}: expected a directory or s3://bucket/prefix")
    return LocalStore(Path(url))
