"""Still images: any mode, upright, cut to the middle.

Shapes: H x W pixels.
"""

import io

import numpy as np
import pytest
from PIL import Image

from reelspace.media.decode import decode_media
from reelspace.media.spec import FrameSpec

SPEC = FrameSpec(size=32)


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("name", "options"), [("JPEG", {"quality": 95}), ("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {})])
def test_every_accepted_format_keeps_its_colour(name: str, options: dict[str, object]) -> None:
    decoded = decode_media(encoded(Image.new("RGB", (80, 60), (200, 100, 30)), name, **options), SPEC)
    assert (decoded.kind, decoded.audio_S, decoded.duration_s) == ("image", None, 0.0)
    assert decoded.frames_FHWC.shape == (1, 32, 32, 3)
    assert np.abs(decoded.frames_FHWC.reshape(-1, 3).astype(int) - [200, 100, 30]).max() <= 3


@pytest.mark.parametrize("mode", ["CMYK", "L", "1", "P", "LA", "RGBA", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((60, 80), 200 * 257, dtype=np.uint16))
    else:
        image = Image.new("L", (80, 60), 200).convert(mode)
    picture_HWC = decode_media(encoded(image, "JPEG" if mode == "CMYK" else "PNG"), SPEC).frames_FHWC[0]
    expected = 255 if mode == "1" else 200
    if mode == "1":
        assert 150 < picture_HWC.mean() < 250  # black dots on white: the average is the grey
    else:
        assert np.abs(picture_HWC.astype(int) - expected).max() <= 6


def test_what_is_transparent_becomes_white() -> None:
    picture_HWC = decode_media(encoded(Image.new("RGBA", (64, 64), (0, 0, 0, 0)), "PNG"), SPEC).frames_FHWC[0]
    assert picture_HWC.min() == 255


def test_a_photo_is_turned_as_its_exif_says() -> None:
    image = Image.new("RGB", (64, 64), "black")
    image.paste("white", (0, 0, 64, 24))  # bright on top
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    picture_HW = decode_media(encoded(image, "JPEG", exif=exif, quality=95), SPEC).frames_FHWC[0].mean(axis=-1)
    assert picture_HW[:, 24:].mean() > 200
    assert picture_HW[:, :16].mean() < 30


def test_of_an_animated_image_the_first_picture_is_taken() -> None:
    pictures = [Image.new("RGB", (40, 40), colour) for colour in ("red", "green", "blue")]
    for name in ("WEBP", "PNG"):
        data = encoded(pictures[0], name, save_all=True, append_images=pictures[1:])
        decoded = decode_media(data, SPEC)
        assert decoded.kind == "image"
        assert decoded.frames_FHWC[0, 16, 16, 0] > 200


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_broken_exif_block_does_not_cost_the_photo() -> None:
    exif = b"Exif\0\0II*\0" + b"\xff" * 40
    decoded = decode_media(encoded(Image.new("RGB", (64, 64), "red"), "JPEG", exif=exif), SPEC)
    assert decoded.frames_FHWC[0, 16, 16, 0] > 200
