"""Artifacts: immutable files under `artifacts/<id>/`, where the id is the SHA-256 of a canonical manifest.

The manifest is written last, so an artifact is visible only when it is whole; every byte is checked against it before
anything parses it. Facts that differ from run to run (times, hosts, metrics) lie beside it in `run.json`, unhashed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, model_validator

from reelspace.core.errors import ArtifactMissing, CorruptArtifact, InternalError, PreconditionFailed, UserError
from reelspace.core.keys import checked_key
from reelspace.core.settings import Settings
from reelspace.core.store import Store

_MANIFEST = "manifest.json"
_RUN = "run.json"
_CHUNK_BYTES = 4 << 20
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of an artifact: slash-separated path, SHA-256 and length."""

    path: Annotated[str, AfterValidator(checked_key)]
    sha256: _Sha256
    size_bytes: Annotated[int, Field(ge=0)]


class Manifest(Settings):
    """What an artifact is and where it comes from; its canonical JSON hashes to the artifact's id."""

    kind: str = Field(min_length=1, description="What the artifact is: tables, labels, shards, teacher...")
    format_version: int = Field(ge=1, description="Version of the layout of this kind.")
    files: tuple[FileEntry, ...] = Field(description="Every file, sorted by path.")
    parents: tuple[_Sha256, ...] = Field(description="Ids of the artifacts this one was made from, sorted.")
    code: str = Field(description="Digest of the code and the lock file that made it.")
    settings: dict[str, Any] = Field(description="Settings it was made with, without paths, places and resources.")

    @model_validator(mode="after")
    def _check_order(self) -> Manifest:
        paths = [entry.path for entry in self.files]
        if paths != sorted(set(paths)) or list(self.parents) != sorted(set(self.parents)):
            raise ValueError("files and parents must be sorted and unique")
        return self

    @property
    def id(self) -> str:
        """SHA-256 of the canonical JSON, 64 hex digits."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def canonical(self) -> bytes:
        """Give the one byte form: sorted keys, no spaces, UTF-8."""
        return canonical_json(self.model_dump(mode="json"))


@dataclass(frozen=True, slots=True)
class Artifact:
    """A whole artifact in a store."""

    store: Store
    manifest: Manifest

    @property
    def id(self) -> str:
        """Id of the artifact, 64 hex digits."""
        return self.manifest.id

    def names(self) -> tuple[str, ...]:
        """Give the paths of its files, sorted."""
        return tuple(entry.path for entry in self.manifest.files)

    def read(self, path: str) -> bytes:
        """Read one file, checked against the manifest.

        Raises:
            CorruptArtifact: the bytes differ from the manifest's, or the file is gone; the message names both.
        """
        entry = self._entry(path)
        return b"".join(self._checked_chunks(entry))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Read a part of a file, unchecked by itself: the caller compares a hash of its own."""
        return self.store.get_range(_file_key(self.id, self._entry(path).path), offset, length)

    def fetch(self, directory: Path) -> Path:
        """Copy every file into the directory and return it; a file appears under its name only once it is checked."""
        for entry in self.manifest.files:
            target = directory / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(target.name + ".partial")
            try:
                with partial.open("wb") as file:
                    for chunk in self._checked_chunks(entry):
                        file.write(chunk)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
        return directory

    def verify(self) -> None:
        """Read and check every file; CorruptArtifact names the first bad one."""
        for entry in self.manifest.files:
            self.verify_file(entry.path)

    def verify_file(self, path: str) -> None:
        """Read and check one file."""
        for _ in self._checked_chunks(self._entry(path)):
            pass

    def run_facts(self) -> dict[str, Any]:
        """Give what the run that wrote it noted: metrics, times, host."""
        return dict(json.loads(self.store.get(f"artifacts/{self.id}/{_RUN}")))

    def _entry(self, path: str) -> FileEntry:
        for entry in self.manifest.files:
            if entry.path == path:
                return entry
        raise InternalError(f"artifact {self.manifest.kind} {self.id} has no file {path!r}; it has {', '.join(self.names())}")

    def _checked_chunks(self, entry: FileEntry) -> Iterator[bytes]:
        digest, size_bytes = hashlib.sha256(), 0
        try:
            for chunk in self.store.stream(_file_key(self.id, entry.path)):
                digest.update(chunk)
                size_bytes += len(chunk)
                yield chunk
        except ArtifactMissing as error:
            raise self._corrupt(entry, "it is gone from the store") from error
        if size_bytes != entry.size_bytes:
            raise self._corrupt(entry, f"it has {size_bytes} bytes, the manifest says {entry.size_bytes}")
        if digest.hexdigest() != entry.sha256:
            raise self._corrupt(entry, f"its SHA-256 is {digest.hexdigest()[:16]}..., the manifest says {entry.sha256[:16]}...")

    def _corrupt(self, entry: FileEntry, what: str) -> CorruptArtifact:
        where = f"artifact {self.manifest.kind} {self.id} in {self.store.url}"
        return CorruptArtifact(f"file {entry.path!r} of {where} is corrupt: {what}; make the artifact again")


def canonical_json(value: object) -> bytes:
    """Give the one JSON byte form of a value: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def write_artifact(
    store: Store,
    kind: str,
    directory: Path,
    *,
    parents: Iterable[str],
    code: str,
    settings: Mapping[str, object],
    format_version: int = 1,
    run: Mapping[str, object] | None = None,
) -> Artifact:
    """Store every file of a directory as one artifact: files first, manifest last.

    Writing what the store already holds gives the same id, and heals files that were damaged there.
    """
    manifest = Manifest(
        kind=kind,
        format_version=format_version,
        files=_entries(directory),
        parents=tuple(sorted(set(parents))),
        code=code,
        settings=dict(settings),
    )
    artifact = Artifact(store, manifest)
    for entry in manifest.files:
        store.put_file(_file_key(artifact.id, entry.path), directory / entry.path)
    store.put(f"artifacts/{artifact.id}/{_RUN}", json.dumps(dict(run or {}), sort_keys=True, indent=1).encode())
    _put_manifest(store, manifest)
    return artifact


def is_artifact_id(value: object) -> bool:
    """Tell whether a value has the form of an id: 64 hex digits."""
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def open_artifact(store: Store, artifact_id: str) -> Artifact:
    """Open an artifact by id, its manifest checked against the id.

    Raises:
        ArtifactMissing: the store has no such artifact.
        CorruptArtifact: the manifest's bytes do not hash to the id.
    """
    if not is_artifact_id(artifact_id):
        raise UserError(f"artifact id {artifact_id!r}: expected 64 hex digits")
    key = _file_key(artifact_id, _MANIFEST)
    if not store.exists(key):
        raise ArtifactMissing(f"artifact {artifact_id} is not in store {store.url}; run the step that makes it, or choose its store")
    data = store.get(key)
    if hashlib.sha256(data).hexdigest() != artifact_id:
        where = f"artifact {artifact_id} in {store.url}"
        raise CorruptArtifact(f"file {_MANIFEST!r} of {where} is corrupt: its SHA-256 is not the artifact's id")
    return Artifact(store, _parse(data, f"{_MANIFEST} of artifact {artifact_id}"))


def read_manifest_file(path: str | Path) -> Manifest:
    """Read the file that travels between steps: the manifest alone, the bytes it names lie in the store."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise ArtifactMissing(f"no manifest file {path}; run the step that makes it") from error
    return _parse(data, f"manifest file {path}")


def write_manifest_file(manifest: Manifest, path: str | Path) -> None:
    """Write the file that `read_manifest_file` reads; it appears whole."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(manifest.canonical())
    partial.replace(target)


def _put_manifest(store: Store, manifest: Manifest) -> None:
    key, data = _file_key(manifest.id, _MANIFEST), manifest.canonical()
    try:
        store.put_if_absent(key, data)
    except PreconditionFailed:
        if store.get(key) != data:
            store.put(key, data)


def _parse(data: bytes, where: str) -> Manifest:
    try:
        return Manifest.model_validate_json(data, strict=True)
    except (ValidationError, InternalError) as error:
        raise CorruptArtifact(f"{where} is not a manifest: {' '.join(str(error).split())[:200]}") from error


def _entries(directory: Path) -> tuple[FileEntry, ...]:
    entries = [_entry(path, path.relative_to(directory).as_posix()) for path in _files(directory)]
    return tuple(sorted(entries, key=lambda entry: entry.path))


def _files(directory: Path) -> Sequence[Path]:
    paths = [path for path in directory.rglob("*") if not path.is_dir() or path.is_symlink()]
    if not paths:
        raise InternalError(f"an artifact needs at least one file, {directory} has none")
    for path in paths:
        if path.is_symlink() or not path.is_file():
            raise InternalError(f"an artifact holds plain files only, {path} is none")
    return paths


def _entry(path: Path, name: str) -> FileEntry:
    if name in (_MANIFEST, _RUN):
        raise InternalError(f"an artifact's own files may not be named {name}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(path=checked_key(name), sha256=digest, size_bytes=path.stat().st_size)


def _file_key(artifact_id: str, path: str) -> str:
    return f"artifacts/{artifact_id}/{path}"
