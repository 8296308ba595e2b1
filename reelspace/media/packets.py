"""Packets of a media stream: their times, and how many the decoder refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import av

from reelspace.media.bad_media import Reason, Undecodable

_DEFAULT_LENGTH_S: Final = 0.04
_MAX_BAD_SHARE: Final = 0.1  # players hide single damaged packets too


def packet_time(packet: av.Packet[Any], start_s: float) -> float | None:
    """Give the time a packet is shown, in seconds from `start_s` on the stream's clock, or None if it has no stamp."""
    stamp = packet.pts if packet.pts is not None else packet.dts
    if stamp is None or not packet.time_base:
        return None
    return float(stamp * packet.time_base) - start_s


class Track(Protocol):
    """What takes the packets of one stream."""

    @property
    def is_complete(self) -> bool:
        """Whether no further packet is wanted."""

    def add(self, packet: av.Packet[Any]) -> None:
        """Take the next packet of the stream; an empty one ends it."""


def packet_end(packet: av.Packet[Any], start_s: float) -> float:
    """Give the time until which a packet is shown; 0 if it has no stamp."""
    time_s = packet_time(packet, start_s)
    if time_s is None:
        return 0.0
    return time_s + (float(packet.duration * packet.time_base) if packet.duration else _DEFAULT_LENGTH_S)


@dataclass(slots=True)
class PacketCount:
    """How many packets were decoded, and how many of them were refused."""

    total: int = 0
    refused: int = 0

    @contextmanager
    def judging(self, packet: av.Packet[Any]) -> Iterator[None]:
        """Count a packet while the block decodes it; damaged data is counted, not raised."""
        self.total += 1 if packet.size else 0
        try:
            yield
        except (av.error.InvalidDataError, av.error.EOFError):
            self.refused += 1

    def check(self, what: str) -> None:
        """Refuse a stream of which the decoder refused more than a tenth.

        Raises:
            Undecodable: `corrupt`.
        """
        if self.refused > max(1, _MAX_BAD_SHARE * self.total):
            raise Undecodable(Reason.CORRUPT, f"the decoder refused {self.refused} of {self.total} packets of {what}")
