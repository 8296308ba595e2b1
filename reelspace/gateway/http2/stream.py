"""One request of an HTTP/2 connection and its answer."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from reelspace.gateway.http2.application import Answer


@dataclass(eq=False, slots=True)
class Stream:
    """What has come of a request, and what is still to be sent of its answer.

    Attributes:
        head: what the application read from the headers.
        since_s: when the request began, in the loop's time.
        window: how many bytes of the answer the other side takes.
        complete: whether the request is whole.
        unsent: what of the answer's body waits for the window, with the last frame `end` behind it.
    """

    id: int
    head: Any
    since_s: float
    window: int
    chunks: list[bytes] = field(default_factory=list)
    size_bytes: int = 0
    complete: bool = False
    task: "asyncio.Task[Answer] | None" = None
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    end: bytes = b""
