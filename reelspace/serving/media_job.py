"""What a decoding process does with one uploaded file: decode it as the works of a training were, within its limits.

`decode_upload` is the task of a pool: a line of JSON and the file in; out a line of JSON and, if all went well, raw frames and sound.
The process that asked parses nothing that came out of a file: numbers of a length that it checks.
"""

import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from reelspace.media.bad_media import Reason, Undecodable
from reelspace.media.decode import decode_media
from reelspace.media.sample import Sample, Words, pack, unpack
from reelspace.media.spec import FrameSpec

TASK: Final = "reelspace.serving.media_job:decode_upload"
TOO_LONG: Final = "too_long"
_NOBODY: Final = Words(0, "", "1970-01-01T00:00:00+00:00")
_SOUND_TYPE: Final = np.dtype("<i2")


@dataclass(frozen=True, slots=True)
class UploadJob:
    """How files are decoded, and how long one may be and take."""

    spec: FrameSpec
    jpeg_quality: int
    max_duration_s: float
    cpu_s: int

    def head(self) -> bytes:
        """Give the line that travels before every file."""
        values = {"jpeg_quality": self.jpeg_quality, "max_duration_s": self.max_duration_s, "cpu_s": self.cpu_s}
        return orjson.dumps({"spec": self.spec.model_dump(mode="json"), **values}) + b"\n"

    @classmethod
    def of(cls, head: bytes) -> "UploadJob":
        """Read the line."""
        fields = orjson.loads(head)
        return cls(**{**fields, "spec": FrameSpec(**fields["spec"])})


@dataclass(frozen=True, slots=True)
class Upload:
    """A decoded file: frames_FHWC uint8, and audio_S int16 at 16 kHz or None."""

    frames_FHWC: NDArray[np.uint8]
    audio_S: NDArray[np.int16] | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file was not decoded, as a code and a sentence."""

    reason: str
    detail: str


def decode_upload(payload: bytes, begin: Callable[[], None]) -> bytes:
    """Decode one file in a decoding process."""
    head, _, data = payload.partition(b"\n")
    job = UploadJob.of(head)
    begin()
    limit_cpu(job.cpu_s)
    try:
        decoded = decode_media(data, job.spec)
    except Undecodable as error:
        return _refusal(error.reason, error.detail)
    if decoded.duration_s > job.max_duration_s:
        return _refusal(TOO_LONG, f"it lasts {decoded.duration_s:.1f} s, at most {job.max_duration_s:g} are taken")
    # Through the form that shards keep: a model has never seen frames that were not JPEG once.
    return _answer(unpack(pack(_NOBODY, decoded, job.jpeg_quality)))


def read_upload(answer: bytes, spec: FrameSpec) -> Upload | Refusal:
    """Read what a decoding process answered, which a file may have taken over: what does not fit is the file's own fault."""
    try:
        return _read(answer, spec)
    except (ValueError, TypeError, KeyError) as error:
        return Refusal(Reason.DECODER_CRASH, f"its decoder gave no frames and sound: {error}")


def limit_cpu(seconds: int) -> None:
    """End this process when it has used so many more seconds of CPU, however many threads share them."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard))


def _read(answer: bytes, spec: FrameSpec) -> Upload | Refusal:
    head, _, data = answer.partition(b"\n")
    facts = orjson.loads(head)
    if "refused" in facts:
        return Refusal(str(facts["refused"]), str(facts["detail"]))
    num_frames, num_samples = int(facts["num_frames"]), facts["num_samples"]
    if not 0 <= num_frames <= spec.num_frames:
        raise ValueError(f"{num_frames} frames")
    shape = (num_frames, spec.size, spec.size, 3)
    num_bytes = int(np.prod(shape))
    frames_FHWC = np.frombuffer(data[:num_bytes], np.uint8).reshape(shape)
    audio_S = None if num_samples is None else np.frombuffer(data[num_bytes:], _SOUND_TYPE, int(num_samples)).astype(np.int16)
    return Upload(frames_FHWC, audio_S)


def _answer(sample: Sample) -> bytes:
    audio_S = sample.audio_S
    facts: dict[str, Any] = {"num_frames": len(sample.frames_FHWC), "num_samples": None if audio_S is None else len(audio_S)}
    sound = b"" if audio_S is None else audio_S.astype(_SOUND_TYPE).tobytes()
    return b"".join([orjson.dumps(facts), b"\n", sample.frames_FHWC.tobytes(), sound])


def _refusal(reason: str, detail: str) -> bytes:
    return orjson.dumps({"refused": reason, "detail": detail[:500]})
