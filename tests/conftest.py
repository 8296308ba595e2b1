"""What tests of several rooms share: media files made on the spot, and the folder of real ones."""

import io
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

EncodeClip = Callable[..., bytes]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real samples; REELSPACE_TEST_DATA names another one."""
    folder = Path(os.environ.get("REELSPACE_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not (folder / "video" / "clips.jsonl").is_file():
        pytest.skip(f"no real samples in {folder}: set REELSPACE_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def encode_clip() -> EncodeClip:
    """Encode frames and sound into the bytes of a file."""
    return _encode_clip


def _encode_clip(
    frames_FHWC: NDArray[np.uint8],
    sounds: tuple[NDArray[np.int16], ...] = (),
    *,
    container: str = "mp4",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    fps: int | Fraction = 10,
    options: dict[str, str] | None = None,
    rotation: int = 0,
    sample_rate: int = 16_000,
    sound_codec: str = "aac",
    sound_from_s: float = 0.0,
    faststart: bool = False,
) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, options={"movflags": "+faststart"} if faststart else {}) as file:
        pictures = file.add_stream(codec, rate=fps, options={"threads": "1", **(options or {})})
        pictures.height, pictures.width = frames_FHWC.shape[1:3]
        pictures.pix_fmt = pixels
        if rotation:
            pictures.set_display_rotation(rotation)
        tracks = [file.add_stream(sound_codec, rate=sample_rate, layout="mono") for _ in sounds]
        for index, frame_HWC in enumerate(frames_FHWC):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            file.mux(pictures.encode(frame))
        file.mux(pictures.encode(None))
        for track, sound_S in zip(tracks, sounds, strict=True):
            frame_of_sound = av.AudioFrame.from_ndarray(sound_S[None], format="s16", layout="mono")
            frame_of_sound.sample_rate = sample_rate
            frame_of_sound.pts = round(sound_from_s * sample_rate)
            file.mux(track.encode(frame_of_sound))
            file.mux(track.encode(None))
    return buffer.getvalue()
