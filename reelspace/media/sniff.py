"""The format of a file by its first bytes.

A name's ending is never believed, and FFmpeg never guesses: its probing takes noise for sound, and some of its formats
(playlists, image sequences, scripts) open other files.
"""

from dataclasses import dataclass
from typing import BinaryIO, Final, Literal

from reelspace.media.bad_media import Reason, Undecodable

HEAD_BYTES: Final = 1024
_BOX_HEADER_BYTES: Final = 8
_LARGE_BOX_HEADER_BYTES: Final = 16
_MOV_BOXES: Final = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})
_STILL_BRANDS: Final = frozenset({b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis", b"jxl "})
_TS_PACKET_BYTES: Final = 188
_TS_SYNC: Final = 0x47


@dataclass(frozen=True, slots=True)
class Format:
    """Who reads the file: Pillow (`image`) or FFmpeg (`streams`), by the reader's own name of the format."""

    reader: Literal["image", "streams"]
    name: str


_PREFIXES: Final = (
    (b"\xff\xd8\xff", Format("image", "JPEG")),
    (b"\x89PNG\r\n\x1a\n", Format("image", "PNG")),
    (b"BM", Format("image", "BMP")),
    (b"GIF87a", Format("streams", "gif")),
    (b"GIF89a", Format("streams", "gif")),
    (b"\x1aE\xdf\xa3", Format("streams", "matroska")),
    (b"OggS", Format("streams", "ogg")),
    (b"fLaC", Format("streams", "flac")),
    (b"FLV\x01", Format("streams", "flv")),
    (b"\x00\x00\x01\xba", Format("streams", "mpeg")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Format("streams", "asf")),
    (b"#!AMR", Format("streams", "amr")),
    (b"caff", Format("streams", "caf")),
    (b"ID3", Format("streams", "mp3")),
)
_RIFF: Final = {b"AVI ": Format("streams", "avi"), b"WAVE": Format("streams", "wav"), b"WEBP": Format("image", "WEBP")}
_IFF: Final = {b"AIFF": Format("streams", "aiff"), b"AIFC": Format("streams", "aiff")}


def sniff(head: bytes) -> Format:
    """Tell the format of a file.

    Args:
        head: the first HEAD_BYTES of the file, fewer if it is shorter.

    Raises:
        Undecodable: `empty_file`, or `unsupported` with the first bytes.
    """
    if not head:
        raise Undecodable(Reason.EMPTY_FILE, "the file has no bytes")
    found = _by_prefix(head) or _by_structure(head)
    if found is None:
        raise Undecodable(Reason.UNSUPPORTED, f"the first bytes {head[:16].hex(' ')} are of no accepted video, image or sound format")
    return found


def check_boxes(file: BinaryIO) -> None:
    """Refuse an MP4 or MOV that was cut: its top-level boxes must end within the file, and one must be the index `moov`.

    Raises:
        Undecodable: `truncated`.
    """
    size_bytes = file.seek(0, 2)
    offset, names = 0, set()
    while offset + _BOX_HEADER_BYTES <= size_bytes:
        length, name = _box(file, offset)
        if length == 0:
            length = size_bytes - offset
        # What follows the index may be padding of any kind; players ignore it too.
        if length < _BOX_HEADER_BYTES or (offset + length > size_bytes and name not in _MOV_BOXES):
            break
        names.add(name)
        offset += length
    file.seek(0)
    if offset > size_bytes:
        raise Undecodable(Reason.TRUNCATED, f"the file has {size_bytes} bytes, its boxes end at byte {offset}")
    if b"moov" not in names:
        raise Undecodable(Reason.TRUNCATED, f"the file has {size_bytes} bytes and no index (moov box)")


def _box(file: BinaryIO, offset: int) -> tuple[int, bytes]:
    file.seek(offset)
    header = file.read(_LARGE_BOX_HEADER_BYTES)
    length, name = int.from_bytes(header[:4], "big"), header[4:8]
    return (int.from_bytes(header[8:16], "big") if length == 1 else length), name


def _by_prefix(head: bytes) -> Format | None:
    return next((found for prefix, found in _PREFIXES if head.startswith(prefix)), None)


def _by_structure(head: bytes) -> Format | None:
    if head[4:8] in _MOV_BOXES:
        return None if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS else Format("streams", "mov")
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[:4] == b"FORM":
        return _IFF.get(head[8:12])
    if all(head[start : start + 1] == bytes([_TS_SYNC]) for start in range(0, 3 * _TS_PACKET_BYTES, _TS_PACKET_BYTES)):
        return Format("streams", "mpegts")
    return _by_audio_sync(head)


def _by_audio_sync(head: bytes) -> Format | None:
    # Eleven set bits open a frame of MPEG audio, twelve one of AAC in ADTS; layer 0 is ADTS, bit rate 15 and rate 3 are invalid.
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    layer = head[1] >> 1 & 3
    if layer == 0:
        return Format("streams", "aac") if head[1] & 0xF0 == 0xF0 and head[2] >> 2 & 15 < 13 else None
    return Format("streams", "mp3") if head[1] >> 3 & 3 != 1 and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3 else None
