"""Formats are told by first bytes, so every format that is decoded must be recognised, under any name."""

import io
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from reelspace.media.bad_media import Undecodable
from reelspace.media.sniff import HEAD_BYTES, Format, sniff

EncodeClip = Callable[..., bytes]


@pytest.mark.parametrize(
    ("container", "codec", "pixels", "name"),
    [
        ("mp4", "libx264", "yuv420p", "mov"),
        ("mov", "mjpeg", "yuvj420p", "mov"),
        ("matroska", "libx264", "yuv420p", "matroska"),
        ("webm", "libvpx-vp9", "yuv420p", "matroska"),
        ("avi", "mpeg4", "yuv420p", "avi"),
        ("flv", "flv", "yuv420p", "flv"),
        ("mpegts", "mpeg2video", "yuv420p", "mpegts"),
        ("mpeg", "mpeg2video", "yuv420p", "mpeg"),
        ("asf", "msmpeg4v3", "yuv420p", "asf"),
        ("gif", "gif", "rgb8", "gif"),
    ],
)
def test_every_container_is_recognised(encode_clip: EncodeClip, container: str, codec: str, pixels: str, name: str) -> None:
    data = encode_clip(np.zeros((25, 48, 64, 3), dtype=np.uint8), container=container, codec=codec, pixels=pixels, fps=25)
    assert sniff(data[:HEAD_BYTES]) == Format("streams", name)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "BMP"])
def test_every_image_format_is_recognised(name: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, name)
    assert sniff(buffer.getvalue()) == Format("image", name)


def test_noise_is_hardly_ever_taken_for_media() -> None:
    generator = np.random.default_rng(11)
    num_taken = 0
    for _ in range(5000):
        with suppress(Undecodable):
            sniff(generator.bytes(64))
            num_taken += 1
    assert num_taken <= 5
