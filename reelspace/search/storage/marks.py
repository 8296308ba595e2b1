"""Marks in a log: where it ends because its collection moved into another, and where what another forwarded into it ends.

A log that ends is written to no more, for whoever would write behind the mark has read it. What a log was given by forwarders ends
at a mark, behind which clients write; no forwarder writes there any more, however long it slept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

MarkKind = Literal["moved_to", "moved_from"]
_KEY: Final = b"reelspace.mark"


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark: the other collection's full name, and when it was set, microseconds since 1970, UTC."""

    kind: MarkKind
    collection: str
    at_us: int


def metadata_of_mark(mark: Mark) -> dict[bytes, bytes]:
    """Give a mark as metadata of a stream."""
    return {_KEY: f"{mark.kind} {mark.collection} {mark.at_us}".encode()}


def mark_of_metadata(metadata: Mapping[bytes, bytes]) -> Mark | None:
    """Read the mark of a stream, None if it is none; ValueError if it is one that this version does not know."""
    text = metadata.get(_KEY)
    if text is None:
        return None
    kind, collection, at_us = text.decode().split(" ")
    for known in get_args(MarkKind):
        if kind == known:
            found: MarkKind = known
            return Mark(found, collection, int(at_us))
    raise ValueError(f"mark {kind[:40]!r}: expected one of {', '.join(get_args(MarkKind))}")
