"""Files that are no media, lie about themselves or are damaged: each is refused with its code, none is believed."""

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reelspace.core.errors import BadMedia
from reelspace.media.bad_media import Reason, Undecodable
from reelspace.media.decode import decode_media
from reelspace.media.spec import FrameSpec

EncodeClip = Callable[..., bytes]
FRAMES_FHWC = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3)).astype(np.uint8)


def reason_of(data: bytes | Path) -> Reason:
    with pytest.raises(Undecodable) as caught:
        decode_media(data, FrameSpec())
    assert isinstance(caught.value, BadMedia)
    assert str(caught.value).startswith(f"{caught.value.reason}: ")
    return caught.value.reason


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with an honest checksum and a header of any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        b"PK\x03\x04" + bytes(200),
        b"\x7fELF" + bytes(200),
        b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"8BPS\x00\x01" + bytes(60),
        b"\x00\x00\x00\x18ftypheic" + bytes(60),
        b"II*\x00" + bytes(100),
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        b"x",
        np.random.default_rng(7).bytes(5000),
    ],
)
def test_what_is_no_accepted_format_is_unsupported_whatever_it_is_called(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    assert reason_of(path) == Reason.UNSUPPORTED


def test_an_empty_file_and_a_missing_one_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert reason_of(tmp_path / "empty.mp4") == Reason.EMPTY_FILE
    assert reason_of(tmp_path / "none.mp4") == Reason.MISSING_FILE
    assert reason_of(tmp_path) == Reason.MISSING_FILE


@pytest.mark.parametrize("movflags", ["", "+faststart", "+frag_keyframe+empty_moov"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_cut_mp4_is_truncated(encode_clip: EncodeClip, movflags: str, share: float) -> None:
    data = encode_clip(FRAMES_FHWC, movflags=movflags, options={"g": "10"})
    assert reason_of(data[: int(len(data) * share)]) == Reason.TRUNCATED


def test_a_mkv_cut_before_its_middle_is_truncated(encode_clip: EncodeClip) -> None:
    data = encode_clip(FRAMES_FHWC, container="matroska")
    assert reason_of(data[: int(len(data) * 0.3)]) == Reason.TRUNCATED


def test_a_cut_photo_is_truncated() -> None:
    buffer = io.BytesIO()
    Image.fromarray(FRAMES_FHWC[0]).save(buffer, "JPEG")
    assert reason_of(buffer.getvalue()[:-600]) == Reason.TRUNCATED


@pytest.mark.parametrize("side", [16_000, 50_000, 65_535])
def test_a_png_that_claims_a_huge_size_is_too_large(side: int) -> None:
    assert reason_of(png(side, side)) == Reason.TOO_LARGE


@pytest.mark.parametrize("side", [16_000, 65_535])
def test_a_video_that_claims_a_huge_size_is_refused_before_it_is_decoded(encode_clip: EncodeClip, side: int) -> None:
    data = bytearray(encode_clip(FRAMES_FHWC[:4], container="avi", codec="rawvideo"))
    at = data.index(b"strf") + 12
    data[at : at + 8] = struct.pack("<ii", side, side)
    assert reason_of(bytes(data)) == Reason.TOO_LARGE


def test_a_small_limit_refuses_an_honest_video(encode_clip: EncodeClip) -> None:
    with pytest.raises(Undecodable, match="too_large"):
        decode_media(encode_clip(np.full((4, 96, 96, 3), 9, np.uint8)), FrameSpec(max_pixels=8192))


def test_a_text_chunk_that_unpacks_to_gigabytes_is_refused() -> None:
    bomb = b"comment\0\0" + zlib.compress(bytes(1 << 26))
    assert reason_of(png(64, 64, (b"zTXt", bomb))) in (Reason.CORRUPT, Reason.TOO_LARGE)


def test_a_container_of_neither_pictures_nor_sound_is_refused() -> None:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as file:
        track = file.add_stream("ass")
        packet = av.Packet(b"0,0,Default,,0,0,0,,hello")
        packet.stream, packet.pts, packet.dts, packet.duration = track, 0, 0, 100
        file.mux(packet)
    assert reason_of(buffer.getvalue()) == Reason.NO_STREAMS


def test_pictures_of_noise_in_a_whole_container_are_corrupt(encode_clip: EncodeClip) -> None:
    data = bytearray(encode_clip(FRAMES_FHWC))
    at = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[at:end] = np.random.default_rng(3).bytes(end - at)
    assert reason_of(bytes(data)) == Reason.CORRUPT


def test_one_flipped_byte_among_the_pictures_is_hidden_or_refused_but_never_more(encode_clip: EncodeClip) -> None:
    data = encode_clip(FRAMES_FHWC)
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    outcomes = set()
    for at in range(start, end, (end - start) // 25):
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        try:
            outcomes.add(str(decode_media(bytes(damaged), FrameSpec()).frames_FHWC.shape))
        except Undecodable as error:
            outcomes.add(error.reason)
    assert outcomes <= {"(4, 64, 64, 3)", Reason.CORRUPT, Reason.TRUNCATED}


def test_a_movie_that_refers_to_another_file_does_not_open_it(encode_clip: EncodeClip, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"read me")
    before = secret.stat().st_atime_ns
    data = encode_clip(FRAMES_FHWC[:4])
    url = str(secret).encode() + b"\0"
    honest = struct.pack(">I4sI", 12, b"url ", 1)  # flag 1: the data lies in this file
    assert honest in data
    outside = struct.pack(">I4sI", 12 + len(url), b"url ", 0) + url
    changed = data.replace(honest, outside)
    for name in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        at = changed.index(name) - 4
        length = int.from_bytes(changed[at : at + 4], "big") + len(url)
        changed = changed[:at] + length.to_bytes(4, "big") + changed[at + 4 :]
    with suppress(Undecodable):
        decode_media(changed, FrameSpec())
    assert secret.stat().st_atime_ns == before
