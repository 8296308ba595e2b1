"""Decoding of one media file: the same function for training, embedding and queries at serving time."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from reelspace.media.bad_media import Reason, Undecodable
from reelspace.media.clip import read_clip
from reelspace.media.decoded import Decoded
from reelspace.media.image import read_image
from reelspace.media.sniff import HEAD_BYTES, check_boxes, sniff
from reelspace.media.spec import FrameSpec


def decode_media(source: bytes | Path | BinaryIO, spec: FrameSpec) -> Decoded:
    """Decode a video, a still image or a sound.

    The format is told by the first bytes alone. Frames are uniform in time, scaled by their short side, cut to the centre square and
    turned upright. Of several streams the one players would choose is taken.

    Args:
        source: the file's bytes, its path, or the file open for reading at its start.

    Raises:
        Undecodable: the file cannot be decoded; `reason` is the code.

    Safety: damaged files may crash or hang the decoder itself; a service that takes anyone's files decodes in a `pool`.
    """
    with _opened(source) as file:
        found = sniff(file.read(HEAD_BYTES))
        file.seek(0)
        if found.reader == "image":
            return Decoded(read_image(file, found.name, spec), None, 0.0, "image")
        if found.name == "mov":
            check_boxes(file)
        return read_clip(file, found.name, spec)


@contextmanager
def _opened(source: bytes | Path | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, Path):
        try:
            with source.open("rb") as file:
                yield file
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
            raise Undecodable(Reason.MISSING_FILE, f"{source}: {error.strerror}") from error
    else:
        yield source
