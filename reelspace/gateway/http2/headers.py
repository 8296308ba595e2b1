"""Header blocks (HPACK): read with the table of the connection, written without one."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, TypeAlias, TypeVar

import hpack

from reelspace.gateway.http2.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionBroken

Pairs: TypeAlias = Sequence[tuple[str, str]]
H = TypeVar("H")
# Says that we keep no table, as must be said before one that the other side has made smaller is used; valid once, at the very start.
NO_TABLE: Final = b"\x20"
MAX_CACHED: Final = 64
MAX_CACHED_BYTES: Final = 1024


class HeaderReader(Generic[H]):
    """Decodes one connection's header blocks, and reads what they say with `read`, once for all equal blocks.

    Clients send the same few blocks again and again, most of them one byte per header. A block means the same as before as long as
    neither the table nor its size has changed, so then it is looked up as a whole.
    """

    def __init__(self, read: Callable[[Pairs], H], max_bytes: int) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=max_bytes)
        self._read = read
        self._known: dict[bytes, H] = {}

    def decode(self, block: bytes) -> H:
        """Decode a block.

        Raises:
            ConnectionBroken: it is no HPACK, or larger than max_bytes when unpacked; the table is lost then.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        entries = self._decoder.header_table.dynamic_entries
        # An entry comes first, and old ones go from the end: the first and the length tell every change.
        first, length = entries[0] if entries else None, len(entries)
        try:
            pairs = [(str(name), str(value)) for name, value in self._decoder.decode(block)]
        except hpack.OversizedHeaderListError as error:
            raise ConnectionBroken(ENHANCE_YOUR_CALM, str(error)) from error
        except hpack.HPACKError as error:
            raise ConnectionBroken(COMPRESSION_ERROR, str(error)) from error
        found = self._read(pairs)
        if len(entries) != length or (entries and entries[0] is not first) or _resizes(block):
            self._known.clear()
        elif len(block) <= MAX_CACHED_BYTES:
            if len(self._known) >= MAX_CACHED:
                self._known.clear()
            self._known[block] = found
        return found


def encode_headers(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Write a block that needs no table: literals, names and values as they are."""
    return b"".join(b"\x00" + _length(name) + name + _length(value) + value for name, value in pairs)


def _length(text: bytes) -> bytes:
    """Write a length as an integer with a prefix of 7 bits."""
    if len(text) < 127:
        return bytes((len(text),))
    rest, digits = len(text) - 127, bytearray((127,))
    while rest > 127:
        digits.append(rest & 127 | 128)
        rest >>= 7
    digits.append(rest)
    return bytes(digits)


def _resizes(block: bytes) -> bool:
    return bool(block) and block[0] & 0xE0 == 0x20
