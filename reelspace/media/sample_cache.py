"""Samples near at hand: bytes read from a store once, kept by their hash until a bound, in memory or in a directory."""

import fcntl
import hashlib
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from reelspace.core.errors import SettingError

_NUM_BUCKETS: Final = 16
_COUNTER: Final = ".size"
_COUNT_DIGITS: Final = 20
_PARTIAL: Final = ".partial"
# What a full bucket is cut down to, so that not every new sample looks through the bucket.
_LOW_SHARE: Final = 0.9


class SampleCache(Protocol):
    """Keeps bytes under their SHA-256; what it gives back is what was put in, or nothing."""

    def get(self, sha256: str) -> bytes | None:
        """Give the bytes of that hash; None: they are not kept, or are damaged."""

    def put(self, sha256: str, data: bytes) -> None:
        """Keep bytes, as far as there is room."""


class MemoryCache:
    """Samples in the memory of this process; what comes when it is full is not kept.

    A training reads every sample once an epoch: to make room would drop the very samples that come next.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._data: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def get(self, sha256: str) -> bytes | None:
        """Give the bytes of that hash."""
        return self._data.get(sha256)

    def put(self, sha256: str, data: bytes) -> None:
        """Keep bytes if they fit."""
        with self._lock:
            if sha256 not in self._data and self._num_bytes + len(data) <= self._max_bytes:
                self._data[sha256] = data
                self._num_bytes += len(data)


class DirectoryCache:
    """Samples as files of a directory, which several processes of a machine may use at once.

    Every file is checked against its name when it is read. Files lie in 16 buckets by their first hexadecimal digit, each with its share
    of `max_bytes`; a writer holds the bucket's lock. Where a bucket is full, the files of the smallest hashes go: those that stay are a
    random part of the samples, and always the same one. To drop what was used longest ago would, with samples that are read once an
    epoch, always drop what comes next.

    Raises:
        SettingError: the directory cannot be made or written.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._bucket_bytes = max_bytes // _NUM_BUCKETS
        try:
            for number in range(_NUM_BUCKETS):
                bucket = directory / f"{number:x}"
                bucket.mkdir(parents=True, exist_ok=True)
                with self._counter(bucket) as counter:
                    _write_count(counter, _make_room(bucket, self._bucket_bytes))
        except (FileExistsError, NotADirectoryError, PermissionError) as error:
            raise SettingError(f"cache of samples {directory}: expected a directory that can be written: {error.strerror}") from error

    def get(self, sha256: str) -> bytes | None:
        """Give the bytes of that hash; a damaged file is as good as none, and the next `put` replaces it."""
        try:
            data = self._path(sha256).read_bytes()
        except FileNotFoundError:
            return None
        return data if hashlib.sha256(data).hexdigest() == sha256 else None

    def put(self, sha256: str, data: bytes) -> None:
        """Keep bytes; the file appears whole, and when there is room for it."""
        if len(data) > self._bucket_bytes:
            return
        path = self._path(sha256)
        with self._counter(path.parent) as counter:
            path.unlink(missing_ok=True)
            num_bytes = _read_count(counter) + len(data)
            if num_bytes > self._bucket_bytes:
                num_bytes = _make_room(path.parent, int(self._bucket_bytes * _LOW_SHARE) - len(data)) + len(data)
            # Counted before they are there: a writer that dies leaves a count that is too high, which the next look sets right.
            _write_count(counter, num_bytes)
            partial = path.with_name(f"{sha256}.{secrets.token_hex(4)}{_PARTIAL}")
            try:
                partial.write_bytes(data)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        return self._directory / sha256[0] / sha256

    @contextmanager
    def _counter(self, bucket: Path) -> Iterator[int]:
        """Give the open file that counts a bucket's bytes, alone among all threads and processes: each opens it for itself."""
        file = os.open(bucket / _COUNTER, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)


def _read_count(counter: int) -> int:
    return int(os.pread(counter, _COUNT_DIGITS, 0))


def _write_count(counter: int, num_bytes: int) -> None:
    # One write over the whole number: a writer that dies leaves the one before or this one.
    os.pwrite(counter, f"{num_bytes:0{_COUNT_DIGITS}d}".encode(), 0)


def _make_room(bucket: Path, max_bytes: int) -> int:
    """Remove what dead writers left behind, and files until at most `max_bytes` are there; gives how many are left."""
    for path in bucket.glob(f"*{_PARTIAL}"):
        path.unlink(missing_ok=True)
    files = sorted((entry.name, entry.stat().st_size) for entry in os.scandir(bucket) if entry.name != _COUNTER)
    num_bytes = sum(size for _, size in files)
    for name, size in files:
        if num_bytes <= max_bytes:
            break
        (bucket / name).unlink(missing_ok=True)
        num_bytes -= size
    return num_bytes
