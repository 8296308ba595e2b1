"""Bodies of requests over HTTP, read with bounds: of one in bytes and time, and of all that are unanswered."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request
from starlette.requests import ClientDisconnect

from reelspace.serving.endpoint_settings import EndpointSettings
from reelspace.serving.refusals import BodyTooLarge, DeadlineOver, TooMuchWaits
from reelspace.serving.wire import WireError

LENGTH_DIGITS = 15


class Bodies:
    """Counts what the bodies of one process hold."""

    def __init__(self, settings: EndpointSettings) -> None:
        self._settings = settings
        self.held_bytes = 0

    @contextmanager
    def one(self) -> Iterator["Body"]:
        """Hold one body until the end of the context."""
        body = Body(self)
        try:
            yield body
        finally:
            self.held_bytes -= body.size_bytes

    def hold(self, size_bytes: int) -> None:
        """Hold more bytes; TooMuchWaits if there is no room for them."""
        if self.held_bytes + size_bytes > self._settings.max_held_bytes:
            raise TooMuchWaits("body", "too many bytes of requests wait already; try again")
        self.held_bytes += size_bytes

    @property
    def arrival_s(self) -> float:
        """Give the longest wait for a whole body."""
        return self._settings.arrival_s


class Body:
    """One body."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.size_bytes = 0

    async def read(self, request: Request, most_bytes: int) -> bytes:
        """Read it whole.

        Raises:
            WireError: it is packed, too large, too slow or cut short, or there is no room for it; the field says which part.
        """
        encoding = request.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise WireError("Content-Encoding", f"expected identity, got {encoding[:40]!r}")
        declared = request.headers.get("Content-Length", "")
        if declared.isdigit() and (len(declared) > LENGTH_DIGITS or int(declared) > most_bytes):
            raise BodyTooLarge("body", f"expected at most {most_bytes} bytes, got {declared[:LENGTH_DIGITS]}")
        try:
            async with asyncio.timeout(self._bodies.arrival_s):
                return await self._whole(request, most_bytes)
        except TimeoutError as error:
            raise DeadlineOver("body", f"it was not whole within {self._bodies.arrival_s:g} s") from error
        except ClientDisconnect as error:
            raise WireError("body", f"the client left after {self.size_bytes} bytes of it") from error

    async def _whole(self, request: Request, most_bytes: int) -> bytes:
        chunks = []
        async for chunk in request.stream():
            if self.size_bytes + len(chunk) > most_bytes:
                raise BodyTooLarge("body", f"expected at most {most_bytes} bytes")
            self._bodies.hold(len(chunk))
            self.size_bytes += len(chunk)
            chunks.append(chunk)
        return b"".join(chunks)
