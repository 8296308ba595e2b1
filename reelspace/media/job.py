"""What a worker does with one media file: fetch, check, decode, pack.

`decode_job` is the task of the pool: JSON of a Job in; out a line of JSON and, if all went well, the members of the sample.
"""

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import Final

import orjson

from reelspace.core.errors import ArtifactMissing, TemporaryError
from reelspace.core.store import Store, open_source
from reelspace.media.bad_media import Reason, Undecodable
from reelspace.media.decode import decode_media
from reelspace.media.decoded import Kind
from reelspace.media.sample import Words, pack
from reelspace.media.spec import FrameSpec

TASK: Final = "reelspace.media.job:decode_job"
_S3: Final = "s3://"


@dataclass(frozen=True, slots=True)
class Job:
    """One media file: where it lies, the hash it must have, the words that go with it, and how it is decoded."""

    uri: str
    sha256: str
    words: Words
    spec: FrameSpec
    jpeg_quality: int

    def payload(self) -> bytes:
        """Give the form that travels to a worker."""
        spec = self.spec.model_dump(mode="json")
        return orjson.dumps(
            {"uri": self.uri, "sha256": self.sha256, "words": asdict(self.words), "spec": spec, "jpeg_quality": self.jpeg_quality}
        )

    @classmethod
    def of(cls, payload: bytes) -> "Job":
        """Read the form that travels."""
        fields = orjson.loads(payload)
        return cls(**{**fields, "words": Words(**fields["words"]), "spec": FrameSpec(**fields["spec"])})


@dataclass(frozen=True, slots=True)
class Packed:
    """A decoded sample: the facts of its index row and its members."""

    kind: Kind
    num_frames: int
    has_audio: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that cannot become a sample, and why."""

    reason: Reason
    detail: str


def decode_job(payload: bytes, begin: Callable[[], None]) -> bytes:
    """Decode one media file in a worker process; `begin` is called once the file is there and is the one that was listed."""
    job = Job.of(payload)
    try:
        with _opened(job.uri) as file:
            _check_hash(file, job.sha256)
            begin()
            decoded = decode_media(file, job.spec)
    except Undecodable as error:
        return orjson.dumps({"refused": error.reason, "detail": error.detail})
    except TemporaryError as error:
        return orjson.dumps({"temporary": str(error)})
    facts = {"kind": decoded.kind, "num_frames": len(decoded.frames_FHWC), "has_audio": decoded.audio_S is not None}
    return orjson.dumps(facts) + b"\n" + pack(job.words, decoded, job.jpeg_quality)


def read_answer(answer: bytes) -> Packed | Refused:
    """Read what `decode_job` returned.

    Raises:
        TemporaryError: the file's place did not answer; that is no fault of the file.
    """
    head, _, data = answer.partition(b"\n")
    facts = orjson.loads(head)
    if "temporary" in facts:
        raise TemporaryError(facts["temporary"])
    if "refused" in facts:
        return Refused(Reason(facts["refused"]), facts["detail"])
    return Packed(data=data, **facts)


def _check_hash(file: BufferedReader, sha256: str) -> None:
    found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise Undecodable(Reason.CHANGED_SINCE_LISTED, f"its SHA-256 is {found[:16]}..., {sha256[:16]}... was listed")
    file.seek(0)


@contextmanager
def _opened(uri: str) -> Iterator[BufferedReader]:
    if uri.startswith(_S3):
        with tempfile.TemporaryDirectory() as folder, _downloaded(uri, Path(folder)).open("rb") as file:
            yield file
        return
    try:
        # Without O_NONBLOCK the opening of a pipe would wait for a writer.
        descriptor = os.open(uri, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Undecodable(Reason.MISSING_FILE, f"{Path(uri).name}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Undecodable(Reason.MISSING_FILE, f"{Path(uri).name}: not a plain file")
        yield file


def _downloaded(uri: str, folder: Path) -> Path:
    bucket, _, key = uri.removeprefix(_S3).partition("/")
    copy = folder / "media"
    try:
        _source(bucket).get_file(key, copy)
    except ArtifactMissing as error:
        raise Undecodable(Reason.MISSING_FILE, str(error)) from error
    return copy


@cache
def _source(bucket: str) -> Store:
    return open_source(f"{_S3}{bucket}")
