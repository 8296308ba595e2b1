"""A store in a directory: every write appears whole or not at all, also after a power cut."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reelspace.core.errors import ArtifactMissing, CorruptArtifact, PreconditionFailed, SettingError, StoreUnavailable
from reelspace.core.keys import PRIVATE, checked_key, checked_prefix

_CHUNK_BYTES = 4 << 20
_NUM_LOCKS = 64
_LITTER_AGE_S = 24 * 3600.0
_ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class LocalStore:
    """Objects as files below `root`; a tag is the SHA-256 of the bytes.

    A new object is written beside (`.reelspace/temporary`), synced, then linked or renamed into place and the directory
    synced. Writers of one key exclude each other by flock, except `put_if_absent`, which link(2) decides.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).absolute()
        self.url = str(self.root)
        self._temporary = self.root / PRIVATE / "temporary"
        self._locks = self.root / PRIVATE / "locks"
        try:
            self._temporary.mkdir(parents=True, exist_ok=True)
            self._locks.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError, PermissionError) as error:
            raise SettingError(f"store {self.url}: expected a directory that can be written: {error.strerror}") from error
        self._sweep()

    def get(self, key: str) -> bytes:
        """Read an object."""
        with self._found(key) as path:
            return path.read_bytes()

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """Read an object and its tag."""
        data = self.get(key)
        return data, _etag(data)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Read exactly `length` bytes from `offset`."""
        with self._found(key) as path, path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
        if len(data) != length:
            raise CorruptArtifact(f"object {key!r} in {self.url} ends before byte {offset + length}")
        return data

    def stream(self, key: str) -> Iterator[bytes]:
        """Read an object in chunks."""
        with self._found(key) as path, path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def put(self, key: str, data: bytes) -> str:
        """Write or replace an object."""
        with self._written(key, data) as temporary, self._locked(key):
            self._replace(temporary, key)
        return _etag(data)

    def put_if_absent(self, key: str, data: bytes) -> str:
        """Write an object that must not exist."""
        with self._written(key, data) as temporary:
            path = self._path(key)
            _make_directory(path.parent)
            try:
                os.link(temporary, path)
            except FileExistsError as error:
                # Who made it may have been killed before its own sync: a caller who is told that it exists may rely on it.
                _sync_directory(path.parent)
                raise PreconditionFailed(f"object {key!r} exists in {self.url}") from error
            _sync_directory(path.parent)
        return _etag(data)

    def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """Replace an object that must still have this tag."""
        with self._written(key, data) as temporary, self._locked(key):
            path = self._path(key)
            found = _etag(path.read_bytes()) if path.is_file() else None
            if found != etag:
                raise PreconditionFailed(f"object {key!r} in {self.url} has tag {found}, {etag} was expected")
            self._replace(temporary, key)
        return _etag(data)

    def put_file(self, key: str, path: Path, sha256: str | None = None) -> None:
        """Write or replace an object from a file, of that SHA-256 if one is given."""
        temporary = self._temporary_path()
        try:
            shutil.copyfile(path, temporary)
            if sha256 is not None:
                _check(temporary, sha256, path)
            _sync_file(temporary)
            with self._locked(key):
                self._replace(temporary, key)
        finally:
            temporary.unlink(missing_ok=True)

    def get_file(self, key: str, path: Path) -> None:
        """Copy an object into a file."""
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
        try:
            with self._found(key) as source:
                shutil.copyfile(source, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        """Tell whether an object exists."""
        if self._path(key).is_file():
            return True
        self._check_is_there()
        return False

    def list(self, prefix: str) -> Iterator[str]:
        """Give the keys that start with the prefix, in byte order."""
        self._check_is_there()
        directory = checked_prefix(prefix).rpartition("/")[0]
        yield from sorted((key for key in self._walk(directory) if key.startswith(prefix)), key=str.encode)

    def delete(self, key: str) -> None:
        """Remove an object; its directory stays, for another writer may be about to use it."""
        path = self._path(key)
        with self._locked(key):
            try:
                path.unlink()
            except _ABSENT:
                return
            _sync_directory(path.parent)

    def _path(self, key: str) -> Path:
        return self.root / checked_key(key)

    def _check_is_there(self) -> None:
        """Tell a directory that is gone, as one of a disk that is mounted no more, from a store in which something does not lie."""
        if not self._temporary.is_dir():
            raise StoreUnavailable(f"the directory {self.url} is gone, or another one is in its place: is its disk mounted?")

    @contextmanager
    def _found(self, key: str) -> Iterator[Path]:
        path = self._path(key)
        if not path.is_file():
            self._check_is_there()
            raise ArtifactMissing(f"no object {key!r} in store {self.url}")
        try:
            yield path
        except FileNotFoundError as error:
            if error.filename != str(path):
                raise
            raise ArtifactMissing(f"object {key!r} was removed from store {self.url}") from error

    def _temporary_path(self) -> Path:
        return self._temporary / secrets.token_hex(12)

    @contextmanager
    def _written(self, key: str, data: bytes) -> Iterator[Path]:
        checked_key(key)
        temporary = self._temporary_path()
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        stripe = self._locks / f"{zlib.crc32(checked_key(key).encode()) % _NUM_LOCKS:02d}"
        with stripe.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _replace(self, temporary: Path, key: str) -> None:
        path = self._path(key)
        _make_directory(path.parent)
        temporary.replace(path)
        _sync_directory(path.parent)

    def _walk(self, directory: str) -> Iterator[str]:
        for folder, folders, files in os.walk(self.root / directory):
            relative = Path(folder).relative_to(self.root)
            if relative == Path():
                folders[:] = [name for name in folders if name != PRIVATE]
            yield from ((relative / name).as_posix() for name in files)

    def _sweep(self) -> None:
        # What a killed writer left behind; a day is far beyond any write, so no live file is hit.
        for path in self._temporary.iterdir():
            try:
                if time.time() - path.stat().st_mtime > _LITTER_AGE_S:
                    path.unlink()
            except FileNotFoundError:
                continue


def _check(copy: Path, sha256: str, path: Path) -> None:
    with copy.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise CorruptArtifact(f"file {path} is corrupt: its SHA-256 is {found[:16]}..., expected {sha256[:16]}...")


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _make_directory(path: Path) -> None:
    missing = [path, *path.parents]
    missing = missing[: next(number for number, folder in enumerate(missing) if folder.is_dir())]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        _sync_directory(folder.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
