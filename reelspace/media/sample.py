"""One sample of a shard, and the bytes it is kept in.

Shapes: F frames, H x W pixels, S samples.

Members, side by side in the archive: `<id>.json` (the facts), `<id>.f00.jpg`..., `<id>.s16` (little-endian int16, 16 kHz, mono).
"""

import io
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image

from reelspace.media.decoded import Decoded, Kind
from reelspace.media.tar import member, members

_ID_DIGITS: Final = 12
_SOUND_TYPE: Final = np.dtype("<i2")


@dataclass(frozen=True, slots=True)
class Sample:
    """A work as a model sees it at the moment of upload: media and the author's words without hashtags.

    frames_FHWC is uint8 RGB, F = 0 for sound alone; audio_S is int16 at 16 kHz mono, None without sound.
    """

    video_id: int
    frames_FHWC: NDArray[np.uint8]
    audio_S: NDArray[np.int16] | None
    text: str
    created_at: datetime
    kind: Kind


@dataclass(frozen=True, slots=True)
class Words:
    """What is known of a work beside its media; created_at is ISO 8601."""

    video_id: int
    text: str
    created_at: str


def pack(words: Words, decoded: Decoded, jpeg_quality: int) -> bytes:
    """Give the archive members of one sample; equal samples give equal bytes."""
    name = f"{words.video_id:0{_ID_DIGITS}d}"
    facts = {
        "video_id": words.video_id,
        "text": words.text,
        "created_at": words.created_at,
        "kind": decoded.kind,
        "duration_s": round(decoded.duration_s, 3),
        "size": decoded.frames_FHWC.shape[1],
    }
    parts = [member(f"{name}.json", orjson.dumps(facts, option=orjson.OPT_SORT_KEYS))]
    for number, frame_HWC in enumerate(decoded.frames_FHWC):
        parts.append(member(f"{name}.f{number:02d}.jpg", _jpeg(frame_HWC, jpeg_quality)))
    if decoded.audio_S is not None:
        parts.append(member(f"{name}.s16", decoded.audio_S.astype(_SOUND_TYPE).tobytes()))
    return b"".join(parts)


def unpack(data: bytes) -> Sample:
    """Read what `pack` wrote."""
    files = {name.partition(".")[2]: content for name, content in members(data)}
    facts = orjson.loads(files["json"])
    frames = [_pixels(files[name]) for name in sorted(files) if name.endswith(".jpg")]
    size = int(facts["size"])
    return Sample(
        video_id=int(facts["video_id"]),
        frames_FHWC=np.stack(frames) if frames else np.zeros((0, size, size, 3), dtype=np.uint8),
        audio_S=np.frombuffer(files["s16"], dtype=_SOUND_TYPE).astype(np.int16) if "s16" in files else None,
        text=str(facts["text"]),
        created_at=datetime.fromisoformat(facts["created_at"]),
        kind=facts["kind"],
    )


def _jpeg(frame_HWC: NDArray[np.uint8], quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame_HWC).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _pixels(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data), formats=["JPEG"]), dtype=np.uint8)
