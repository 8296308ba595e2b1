"""Tar members with fixed headers: equal content, equal bytes.

A plain writer of the ustar format: `tarfile` would take times, owners and versions from its surroundings.
"""

from collections.abc import Iterator
from typing import Final

from reelspace.core.errors import CorruptArtifact

_BLOCK_BYTES: Final = 512
_NAME_BYTES: Final = 100
_SIZE_AT: Final = slice(124, 136)
_SUM_AT: Final = slice(148, 156)

END_OF_ARCHIVE: Final = bytes(2 * _BLOCK_BYTES)
"""What closes an archive."""


def member(name: str, data: bytes) -> bytes:
    """Give one file of an archive: header, content, padding. The name is ASCII, at most 100 bytes."""
    encoded = name.encode("ascii")
    assert len(encoded) <= _NAME_BYTES
    header = bytearray(_BLOCK_BYTES)
    header[: len(encoded)] = encoded
    header[100:108], header[108:116], header[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    header[_SIZE_AT], header[136:148] = b"%011o\0" % len(data), b"%011o\0" % 0
    header[_SUM_AT] = b" " * 8
    header[156:157], header[257:265] = b"0", b"ustar\x0000"
    header[_SUM_AT] = b"%06o\0 " % sum(header)
    return bytes(header) + data + bytes(-len(data) % _BLOCK_BYTES)


def members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Give the files of a part of an archive that was checked against its hash, by name.

    Raises:
        CorruptArtifact: the part is no row of whole members.
    """
    offset = 0
    while offset < len(data):
        header = data[offset : offset + _BLOCK_BYTES]
        try:
            length = int(header[_SIZE_AT].rstrip(b"\0 "), 8)
            name = header[:_NAME_BYTES].rstrip(b"\0").decode("ascii")
        except ValueError as error:
            raise CorruptArtifact(f"expected a tar header at byte {offset} of the sample: {error}") from error
        start = offset + _BLOCK_BYTES
        offset = start + length + -length % _BLOCK_BYTES
        if offset > len(data):
            raise CorruptArtifact(f"member {name!r} of the sample ends behind its last byte")
        yield name, data[start : start + length]
