"""The media files that the videos table names: whether they are there, their hashes and sizes."""

import errno
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from reelspace.core.errors import ArtifactMissing, TableError
from reelspace.core.keys import key_problem
from reelspace.core.progress import progress
from reelspace.core.store import Store, open_source

S3 = "s3://"
_CHUNK_BYTES = 1 << 20
_NUM_READERS = 4
_NO_SUCH_PATH = frozenset({errno.ENAMETOOLONG, errno.ELOOP})
_MEDIA_SCHEMA = pa.schema(
    {
        "video_id": pa.int64(),
        "uri": pa.large_string(),
        "sha256": pa.large_string(),
        "size_bytes": pa.int64(),
        "missing": pa.bool_(),
    }
)


@dataclass(frozen=True, slots=True)
class _MediaFile:
    sha256: str
    size_bytes: int


class MediaFiles:
    """Reads media by uri: absolute, `s3://bucket/key`, or relative to a root of either kind."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._buckets: dict[str, Store] = {}

    def problem(self, uri: str) -> str | None:
        """Tell why a uri can name no file, None if it can."""
        full = self._full(uri)
        key = full.removeprefix(S3).partition("/")[2]
        if "\0" in uri or (full.startswith(S3) and key_problem(key)) or ("://" in uri and not uri.startswith(S3)):
            return f"expected a path or {S3}bucket/key, got {uri[:60]!r}"
        return None

    def list(self, video_ids: Sequence[int], uris: Sequence[str]) -> pa.Table:
        """Hash the files of the works; one that is not there is `missing`."""
        with progress(len(uris), "hash media") as bar, ThreadPoolExecutor(_NUM_READERS) as pool:
            found: list[_MediaFile | None] = []
            for file in pool.map(self._measure, uris):
                found.append(file)
                bar.advance()
        columns = {
            "video_id": list(video_ids),
            "uri": list(uris),
            "sha256": [file.sha256 if file else None for file in found],
            "size_bytes": [file.size_bytes if file else None for file in found],
            "missing": [file is None for file in found],
        }
        return pa.table(columns, schema=_MEDIA_SCHEMA)

    def _measure(self, uri: str) -> _MediaFile | None:
        digest, size_bytes = hashlib.sha256(), 0
        try:
            for chunk in self._chunks(uri):
                digest.update(chunk)
                size_bytes += len(chunk)
        except (ArtifactMissing, FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            if error.errno not in _NO_SUCH_PATH:
                raise
            return None
        return _MediaFile(digest.hexdigest(), size_bytes)

    def _chunks(self, uri: str) -> Iterator[bytes]:
        full = self._full(uri)
        bucket, _, key = full.removeprefix(S3).partition("/")
        return self._bucket(bucket).stream(key) if full.startswith(S3) else _file_chunks(Path(full))

    def _full(self, uri: str) -> str:
        return uri if uri.startswith((S3, "/")) else f"{self._root.rstrip('/')}/{uri}"

    def _bucket(self, name: str) -> Store:
        if name not in self._buckets:
            self._buckets[name] = open_source(f"{S3}{name}")
        return self._buckets[name]


def _file_chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except PermissionError as error:
        raise TableError(f"table videos, column uri: {path} may not be read: {error.strerror}") from error
