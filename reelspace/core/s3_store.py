"""A store in a bucket of any S3 server that honours conditional writes."""

from __future__ import annotations

import configparser
import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.credentials.providers import AWSConfigProvider, Provider, StaticProvider
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from reelspace.core.errors import (
    ArtifactMissing,
    CorruptArtifact,
    InternalError,
    PreconditionFailed,
    ReelspaceError,
    SettingError,
    StoreUnavailable,
)
from reelspace.core.keys import PRIVATE, checked_key, checked_prefix

_CHUNK_BYTES = 4 << 20
_TIMEOUT = urllib3.Timeout(connect=5.0, read=60.0)
_PRESIGNED_FOR = timedelta(minutes=10)
_NUM_CONFLICT_TRIES = 5
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{1,61}[A-Za-z0-9]")
"""What minio accepts for servers other than Amazon's, which are stricter."""
_ABSENT_CODES = frozenset({"NoSuchKey", "NoSuchObject", "404"})
_SETTING_CODES = frozenset(
    {"NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidBucketName", "AuthorizationHeaderMalformed"}
)


@dataclass(frozen=True, slots=True)
class S3Place:
    """Where a store lies and with which keys it is reached."""

    endpoint: str
    bucket: str
    prefix: str
    access_key: str | None
    secret_key: str | None
    session_token: str | None = None
    region: str = "us-east-1"
    credentials_file: str | None = None

    @classmethod
    def from_environment(cls, url: str, environment: Mapping[str, str]) -> S3Place:
        """Read `s3://bucket/prefix` and the variables that `open_store` documents."""
        parts = urlsplit(url)
        prefix = parts.path.strip("/")
        if parts.scheme != "s3" or not _BUCKET.fullmatch(parts.netloc):
            raise SettingError(f"store {url!r}: expected s3://bucket/prefix, with a bucket's name of 3 to 63 characters")
        endpoint = environment.get("REELSPACE_S3_ENDPOINT") or "https://s3.amazonaws.com"
        if urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).netloc:
            raise SettingError(f"REELSPACE_S3_ENDPOINT {endpoint!r}: expected http://host:port or https://host")
        return cls(
            endpoint=endpoint,
            bucket=parts.netloc,
            prefix=f"{checked_key(prefix)}/" if prefix else "",
            access_key=environment.get("AWS_ACCESS_KEY_ID"),
            secret_key=environment.get("AWS_SECRET_ACCESS_KEY"),
            session_token=environment.get("AWS_SESSION_TOKEN"),
            region=environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1",
            credentials_file=environment.get("AWS_SHARED_CREDENTIALS_FILE") or None,
        )


class S3Store:
    """Objects in a bucket; conditional writes are presigned PUTs that carry the condition as a header.

    The minio client offers no condition on put_object (and silently ignores one smuggled in as metadata), so it signs the URL and
    urllib3 sends it, without retries: a repeated conditional PUT would meet the object that the first one wrote.
    """

    def __init__(self, place: S3Place) -> None:
        self.url = f"s3://{place.bucket}/{place.prefix}".rstrip("/")
        self._place = place
        self._quote = '"'
        self._http = urllib3.PoolManager(timeout=_TIMEOUT, retries=False, maxsize=16)
        self._client = Minio(
            endpoint=urlsplit(place.endpoint).netloc,
            secure=urlsplit(place.endpoint).scheme == "https",
            region=place.region,
            credentials=credentials_of(place),
            http_client=urllib3.PoolManager(
                timeout=_TIMEOUT,
                maxsize=16,
                retries=urllib3.Retry(total=4, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504], raise_on_status=False),
            ),
        )

    def probe(self) -> None:
        """Try whether the server honours conditional writes; SettingError names a server that does not."""
        key = f"{PRIVATE}/probe-{secrets.token_hex(8)}"
        try:
            etag = self._conditional_put(key, b"1", {"If-None-Match": "*"})
            # The standard wants quotes around the tag; Ceph, and services built on it, take them for a part of it.
            accepted = self._is_taken(key, etag, '"') or self._is_taken(key, etag, "")
            refused = self._is_refused(key, {"If-None-Match": "*"}) and self._is_refused(key, self._if_match("0" * 32))
            if not refused or not accepted:
                raise SettingError(
                    f"the S3 server at {self._place.endpoint} ignores conditional writes (If-None-Match, If-Match): "
                    "a store there would lose writes; choose a server that honours them"
                )
        finally:
            with self._errors(key):
                self._client.remove_object(self._place.bucket, self._place.prefix + key)

    def get(self, key: str) -> bytes:
        """Read an object."""
        return self.get_with_etag(key)[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """Read an object and its tag."""
        with self._opened(key) as response:
            return response.read(), response.headers["ETag"].strip('"')

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Read exactly `length` bytes from `offset`."""
        if length == 0:
            return b""
        try:
            with self._opened(key, offset, length) as response:
                data: bytes = response.read()
        except _RangeBeyondEnd:
            data = b""
        if len(data) != length:
            raise CorruptArtifact(f"object {key!r} in {self.url} ends before byte {offset + length}")
        return data

    def stream(self, key: str) -> Iterator[bytes]:
        """Read an object in chunks."""
        with self._opened(key) as response:
            yield from response.stream(_CHUNK_BYTES)

    def put(self, key: str, data: bytes) -> str:
        """Write or replace an object."""
        with self._errors(key):
            result = self._client.put_object(self._place.bucket, self._name(key), BytesIO(data), len(data))
        return str(result.etag).strip('"')

    def put_if_absent(self, key: str, data: bytes) -> str:
        """Write an object that must not exist."""
        return self._conditional_put(checked_key(key), data, {"If-None-Match": "*"})

    def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """Replace an object that must still have this tag."""
        return self._conditional_put(checked_key(key), data, self._if_match(etag))

    def put_file(self, key: str, path: Path, sha256: str | None = None) -> None:
        """Write or replace an object from a file, of that SHA-256 if one is given."""
        with path.open("rb") as file, self._errors(key):
            hashed = _HashedFile(file)
            self._client.put_object(self._place.bucket, self._name(key), cast(BinaryIO, hashed), path.stat().st_size)
        found = hashed.digest.hexdigest()
        if sha256 is not None and found != sha256:
            self.delete(key)
            raise CorruptArtifact(f"file {path} is corrupt: its SHA-256 is {found[:16]}..., expected {sha256[:16]}...")

    def get_file(self, key: str, path: Path) -> None:
        """Copy an object into a file."""
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
        try:
            with partial.open("wb") as file:
                for chunk in self.stream(key):
                    file.write(chunk)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        """Tell whether an object exists."""
        try:
            with self._errors(key):
                self._client.stat_object(self._place.bucket, self._name(key))
        except ArtifactMissing:
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        """Give the keys that start with the prefix, in byte order."""
        root = self._place.prefix
        with self._errors(prefix):
            for item in self._client.list_objects(self._place.bucket, prefix=root + checked_prefix(prefix), recursive=True):
                key = str(item.object_name).removeprefix(root)
                if not item.is_dir and not key.startswith(f"{PRIVATE}/"):
                    yield key

    def delete(self, key: str) -> None:
        """Remove an object."""
        with self._errors(key):
            self._client.remove_object(self._place.bucket, self._name(key))

    def _name(self, key: str) -> str:
        return self._place.prefix + checked_key(key)

    def _if_match(self, etag: str) -> dict[str, str]:
        return {"If-Match": f"{self._quote}{etag}{self._quote}"}

    def _is_taken(self, key: str, etag: str, quote: str) -> bool:
        self._quote = quote
        return not self._is_refused(key, self._if_match(etag))

    def _is_refused(self, key: str, condition: Mapping[str, str]) -> bool:
        try:
            self._conditional_put(key, b"2", condition)
        except PreconditionFailed:
            return True
        return False

    def _conditional_put(self, key: str, data: bytes, condition: Mapping[str, str]) -> str:
        name = self._place.prefix + key
        # Without a content type of its own a server may read the body as a form, and store nothing (moto does).
        headers = {"Content-Type": "application/octet-stream", **condition}
        for _ in range(_NUM_CONFLICT_TRIES):
            with self._errors(key):
                url = self._client.get_presigned_url("PUT", self._place.bucket, name, expires=_PRESIGNED_FOR)
                response = self._http.request("PUT", url, body=data, headers=headers)
            if response.status != 409:  # Amazon's answer to two writers at one moment: neither is decided, ask again
                break
        return self._written_etag(key, response)

    def _written_etag(self, key: str, response: urllib3.BaseHTTPResponse) -> str:
        if response.status == 200:
            return response.headers["ETag"].strip('"')
        text = " ".join(response.data.decode("utf-8", "replace").split())[:200]
        if response.status == 412 or (response.status == 404 and "NoSuchBucket" not in text):
            raise PreconditionFailed(f"object {key!r} in {self.url} is not in the state this write expected")
        if response.status >= 500 or response.status in (408, 409, 429):
            raise StoreUnavailable(f"store {self.url} answered {response.status} to the write of {key!r}: {text}")
        raise SettingError(f"store {self.url} refused the write of {key!r} with {response.status}: {text}")

    @contextmanager
    def _opened(self, key: str, offset: int = 0, length: int = 0) -> Iterator[urllib3.BaseHTTPResponse]:
        with self._errors(key):
            response = self._client.get_object(self._place.bucket, self._name(key), offset=offset, length=length)
            try:
                yield response
            finally:
                response.close()
                response.release_conn()

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except S3Error as error:
            raise self._of_s3_error(key, error) from error
        except (urllib3.exceptions.HTTPError, ServerError, InvalidResponseError) as error:
            raise StoreUnavailable(f"store {self.url} at {self._place.endpoint} did not answer for {key!r}: {error}") from error
        except MinioException as error:
            raise InternalError(f"store {self.url}, key {key!r}: {error}") from error

    def _of_s3_error(self, key: str, error: S3Error) -> ReelspaceError:
        if error.code in _ABSENT_CODES:
            return ArtifactMissing(f"no object {key!r} in store {self.url}")
        if error.code == "InvalidRange":
            return _RangeBeyondEnd(key)
        if error.code in _SETTING_CODES:
            return SettingError(f"store {self.url} at {self._place.endpoint} refused {key!r}: {error.code}: {error.message}")
        return StoreUnavailable(f"store {self.url} at {self._place.endpoint} failed on {key!r}: {error.code}: {error.message}")


class _HashedFile:
    """A file whose bytes are hashed as they are read for sending."""

    def __init__(self, file: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self._file = file

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


class _RangeBeyondEnd(CorruptArtifact):
    """A range starts at or after the object's end."""


def credentials_of(place: S3Place) -> Provider | None:
    """Give what knows the keys of a place, None for a place that asks for none; SettingError where the file has none."""
    if place.access_key is not None and place.secret_key is not None:
        return StaticProvider(place.access_key, place.secret_key, place.session_token)
    if place.credentials_file is None:
        return None
    provider = AWSConfigProvider(place.credentials_file)  # reads it for every request: keys may be rotated
    try:
        provider.retrieve()
    except (ValueError, configparser.Error) as error:
        raise SettingError(f"AWS_SHARED_CREDENTIALS_FILE: {' '.join(str(error).split())}") from error
    return provider
