"""Still images.

Shapes: F frames, H x W pixels.
"""

import struct
import warnings
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from reelspace.media.bad_media import Reason, Undecodable
from reelspace.media.spec import FrameSpec

_WHITE: Final = (255, 255, 255, 255)
# What Pillow's parsers raise on damaged headers, chunks and EXIF blocks.
_PARSER_ERRORS: Final = (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, OverflowError, struct.error)


def read_image(file: BinaryIO, name: str, spec: FrameSpec) -> NDArray[np.uint8]:
    """Decode a still image into one frame; of an animated one the first picture.

    Args:
        name: Pillow's name of the format; no other decoder is tried.

    Returns:
        frames_FHWC with F = 1.

    Raises:
        Undecodable: `truncated`, `corrupt` or `too_large`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(file, formats=[name])
        _check_size(image, spec)
        image.draft("RGB", (2 * spec.size, 2 * spec.size))  # JPEG only: decodes at 1/2, 1/4 or 1/8 where that is still large enough
        image.load()
        upright = ImageOps.exif_transpose(image)
        return np.asarray(fit(_rgb(upright), spec.size), dtype=np.uint8)[None]
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise Undecodable(Reason.TOO_LARGE, str(error)) from error
    except UnidentifiedImageError as error:
        raise Undecodable(Reason.CORRUPT, f"not a readable {name} image") from error
    except _PARSER_ERRORS as error:
        raise Undecodable(_reason(error), f"{name}: {error}") from error


def fit(image: Image.Image, size: int) -> Image.Image:
    """Scale the short side to `size` and cut the centre square, in one step."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


def _check_size(image: Image.Image, spec: FrameSpec) -> None:
    width, height = image.size
    if width * height > spec.max_pixels:
        raise Undecodable(Reason.TOO_LARGE, f"{width} x {height} pixels, at most {spec.max_pixels} are decoded")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion clips instead of scaling.
        return Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, _WHITE), picture).convert("RGB")
    return image.convert("RGB")


def _reason(error: BaseException) -> Reason:
    return Reason.TRUNCATED if "truncated" in str(error).lower() else Reason.CORRUPT
