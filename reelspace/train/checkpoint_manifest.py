"""manifest.json of a checkpoint: what the training stood at, and the SHA-256 of every file; a checkpoint without it is none."""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError

from reelspace.core.errors import UserError
from reelspace.core.keys import key_problem
from reelspace.core.settings import Settings

MANIFEST_FILE = "manifest.json"
VERSION = 1
_NUM_THREADS = 8


def _below_the_checkpoint(path: str) -> str:
    problem = key_problem(path)
    if problem:
        raise ValueError(f"file {path[:200]!r}: {problem}")
    return path


class CheckpointManifest(Settings):
    """What a checkpoint says of itself."""

    format: Literal["reelspace-checkpoint"] = Field("reelspace-checkpoint", description="What this file is.")
    version: int = Field(VERSION, ge=1, le=VERSION, description="Version of the layout of a checkpoint.")
    step: int = Field(ge=0, description="Optimizer steps that are done.")
    data_cursor: int = Field(ge=0, description="Batches that are consumed.")
    world_size: int = Field(ge=1, description="Processes that wrote it.")
    layout: str = Field(description="How the engine spread its state over the files.")
    fingerprint: dict[str, str] = Field(description="What the weights depend on, by name: settings as JSON, data as SHA-256.")
    num_skipped: int = Field(ge=0, description="Steps without a finite loss.")
    loss: float | None = Field(None, allow_inf_nan=False, description="Mean logged loss since the checkpoint before; None: not finite.")
    files: dict[Annotated[str, AfterValidator(_below_the_checkpoint)], Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(
        description="SHA-256 of every file, by slash-separated path."
    )


def read_manifest(directory: Path) -> CheckpointManifest:
    """Read the manifest of a checkpoint.

    Raises:
        UserError: a later version of the program wrote it.
        OSError, ValueError: it is gone, or not what the program writes.
    """
    facts = json.loads((directory / MANIFEST_FILE).read_bytes())
    version = facts.get("version") if isinstance(facts, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise UserError(
            f"checkpoint {directory} has format version {version}, this program reads up to {VERSION}: "
            "go on with the program that wrote it, or start in an empty run directory"
        )
    try:
        return CheckpointManifest.model_validate(facts, strict=True)
    except ValidationError as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error


def write_manifest(directory: Path, manifest: CheckpointManifest) -> None:
    """Write the manifest of a directory's files and bring all of it to the disk, so that a power cut leaves no empty file."""
    for path in _files(directory):
        synced(path)
    (directory / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=1))
    synced(directory / MANIFEST_FILE)
    for folder in [path for path in directory.rglob("*") if path.is_dir()] + [directory]:
        synced(folder)


def digests(directory: Path) -> dict[str, str]:
    """Give the SHA-256 of every file below a directory, by path."""
    paths = list(_files(directory))
    # In threads, for the training waits; hashing leaves the interpreter free.
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        return dict(zip((path.relative_to(directory).as_posix() for path in paths), threads.map(sha256_of, paths), strict=True))


def damage(directory: Path, manifest: CheckpointManifest) -> str:
    """Say what is wrong with the files of a checkpoint; nothing if all is well."""
    for name, digest in manifest.files.items():
        path = directory / name
        if not path.is_file():
            return f"{name} is gone"
        if sha256_of(path) != digest:
            return f"{name} is damaged"
    return ""


def sha256_of(path: Path) -> str:
    """Give the SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def synced(path: Path) -> None:
    """Wait until a file or a directory's entries are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.rglob("*")) if path.is_file())
