"""Files as people upload them, and the tensors of a request for media_encoder."""

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reelspace.serving.wire import HEAD_LENGTH, Answer, Tensor, decode_answer, encode_request, text_tensor

EncodeClip = Callable[..., bytes]


def good_files(encode_clip: EncodeClip) -> dict[str, bytes]:
    """Give a video with sound, one without, a picture and a sound."""
    random = np.random.default_rng(11)
    frames_FHWC = random.integers(0, 255, (24, 72, 96, 3)).astype(np.uint8)
    sound_S = (9_000 * np.sin(np.arange(40_000) / 7)).astype(np.int16)
    return {
        "video": encode_clip(frames_FHWC, (sound_S,)),
        "silent": encode_clip(frames_FHWC[::-1], container="webm", codec="libvpx-vp9"),
        "picture": encoded(frames_FHWC[3], "JPEG"),
        "sound": wave(sound_S),
    }


def hostile_files(clip: bytes) -> dict[str, bytes]:
    """Give files that nobody should decode, by the reason that they are refused for."""
    claim = chunk(b"IHDR", struct.pack(">IIBBBBB", 65_000, 65_000, 8, 6, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + claim + chunk(b"IDAT", zlib.compress(bytes(100)))
    return {"empty_file": b"", "unsupported": np.random.default_rng(0).bytes(9_000), "truncated": clip[: len(clip) // 2], "too_large": bomb}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encoded(picture_HWC: NDArray[np.uint8], name: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture_HWC).save(buffer, name)
    return buffer.getvalue()


def wave(sound_S: NDArray[np.int16]) -> bytes:
    """Write a WAVE file of 16 kHz by hand."""
    data = sound_S.astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVE" + form + b"data" + struct.pack("<I", len(data)) + data


def media_tensors(files: Sequence[bytes], texts: Sequence[str]) -> dict[str, Tensor]:
    media_B1 = np.empty((len(files), 1), dtype=np.object_)
    media_B1[:, 0] = files
    return {"MEDIA": media_B1, "TEXT": text_tensor(texts)}


def ask(url: str, model: str, inputs: dict[str, Tensor]) -> httpx.Response:
    message = encode_request(inputs)
    return _client().post(f"{url}/v2/models/{model}/infer", content=message.body, headers=message.headers)


@cache
def _client() -> httpx.Client:
    # To make one takes longer than a request.
    return httpx.Client(timeout=60, trust_env=False)


def answered(response: httpx.Response) -> Answer:
    assert response.status_code == 200, response.text
    return decode_answer(response.content, response.headers.get(HEAD_LENGTH))


def refusal(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 400, response.text
    found: dict[str, Any] = response.json()
    return found
