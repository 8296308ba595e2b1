"""What the headers of a request say about it: its id, its trace, and the space of its vectors."""

import re
from collections.abc import Callable
from random import getrandbits
from typing import Final

from reelspace.search.access.current_request import CurrentRequest

REQUEST_ID: Final = "x-request-id"
TRACEPARENT: Final = "traceparent"
SPACE_ID: Final = "space-id"
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Source: https://www.w3.org/TR/trace-context/, section 3.2.
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?")
ID_BITS: Final = 64


def request_of(header: Callable[[str], str | None]) -> CurrentRequest:
    """Make a request from its headers by lower-case name; an id or a trace that is none counts as not sent."""
    id, trace = header(REQUEST_ID), header(TRACEPARENT)
    if id is None or not _ID.fullmatch(id):
        id = _new_id()
    return CurrentRequest(id, None if trace is None else _child_of(trace), header(SPACE_ID))


def _new_id() -> str:
    # Nothing secret: the system's random numbers would cost a call of the kernel for every request.
    return f"{getrandbits(ID_BITS):016x}"


def _child_of(traceparent: str) -> str | None:
    """Give the header for calls made for a request: the same trace, under a span of our own."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return None if found is None else f"00-{found[1]}-{_new_id()}-{found[2]}"
