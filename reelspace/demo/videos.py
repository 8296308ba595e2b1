"""Media files with the same codec settings for every work, padded so that their size says nothing about what is inside."""

import io
import struct
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reelspace.core.rng import rng
from reelspace.demo.presets import FPS, SAMPLE_RATE, SIDE

# Constant bit rate with a buffer of an eighth of a second, filled up where the picture needs less: every stream has the same size.
_X264 = {"preset": "ultrafast", "b": "96k", "maxrate": "96k", "bufsize": "12k", "x264-params": "threads=1:nal-hrd=cbr:force-cfr=1"}
_AUDIO_BITS_PER_S = 24_000
_SIZE_STEP = 4_096  # bytes
VIDEO_SIZES = (64 * 1024, 80 * 1024)  # bytes; a file's size is drawn from this range, whatever it shows
IMAGE_SIZES = (10 * 1024, 14 * 1024)


def encode_video(seed: int, video_id: int, frames_FHWC: NDArray[np.uint8], audio_S: NDArray[np.int16] | None) -> bytes:
    """Encode H.264 and AAC in MP4; equal inputs give equal bytes."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        video = container.add_stream("libx264", rate=FPS, options=_X264)
        video.width = video.height = SIDE
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1
        sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", options={"aac_coder": "fast"}) if audio_S is not None else None
        for index, picture in enumerate(frames_FHWC):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None and audio_S is not None:
            sound.bit_rate = _AUDIO_BITS_PER_S
            samples = av.AudioFrame.from_ndarray(audio_S[None], format="s16", layout="mono")
            samples.sample_rate, samples.pts = SAMPLE_RATE, 0
            container.mux(sound.encode(samples))
            container.mux(sound.encode(None))
    data = buffer.getvalue()
    return data + _free_box(_target(seed, video_id, len(data), VIDEO_SIZES) - len(data))


def encode_image(seed: int, video_id: int, picture_HWC: NDArray[np.uint8]) -> bytes:
    """Encode a still image as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(picture_HWC).save(buffer, "JPEG", quality=90)
    data = buffer.getvalue()
    room = _target(seed, video_id, len(data), IMAGE_SIZES) - len(data)
    comment = b"\xff\xfe" + struct.pack(">H", room - 2) + bytes(room - 4)
    return data[:2] + comment + data[2:]


def break_file(seed: int, video_id: int, data: bytes, how: str) -> bytes:
    """Spoil an encoded file: `truncated`, `garbage` or `empty`."""
    if how == "truncated":
        return data[: len(data) * 2 // 5]
    if how == "garbage":
        return rng(seed, "garbage", video_id).bytes(len(data))
    return b""


def _target(seed: int, video_id: int, size_bytes: int, sizes: tuple[int, int]) -> int:
    wanted = int(rng(seed, "file size", video_id).integers(*sizes))
    return wanted if wanted >= size_bytes + 8 else -(-(size_bytes + 8) // _SIZE_STEP) * _SIZE_STEP


def _free_box(size_bytes: int) -> bytes:
    return struct.pack(">I4s", size_bytes, b"free") + bytes(size_bytes - 8)
