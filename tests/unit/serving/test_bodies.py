import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from fastapi import Request

from reelspace.serving.bodies import Bodies
from reelspace.serving.endpoint_settings import EndpointSettings
from reelspace.serving.refusals import BodyTooLarge, DeadlineOver, TooMuchWaits
from reelspace.serving.wire import WireError

MOST = 1_000


def request(chunks: Sequence[bytes | None], **headers: str) -> Request:
    """Make a request whose body comes in chunks; None: its client leaves, no chunk more: it says nothing for ever."""
    waiting = list(chunks)

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.sleep(60)
        chunk = waiting.pop(0)
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": chunk != b""}

    named = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": named}, receive)


def read(bodies: Bodies, asked: Request) -> bytes:
    async def one() -> bytes:
        with bodies.one() as body:
            return await body.read(asked, MOST)

    return asyncio.run(one())


def test_chunks_are_put_together() -> None:
    assert read(Bodies(EndpointSettings()), request([b"a", b"bc", b""])) == b"abc"


@pytest.mark.parametrize(
    ("asked", "kind", "field"),
    [
        (lambda: request([b"x" * MOST, b"x"]), BodyTooLarge, "body"),
        (lambda: request([], Content_Length="1001"), BodyTooLarge, "body"),
        (lambda: request([], Content_Length="9" * 40), BodyTooLarge, "body"),
        (lambda: request([b"x"]), DeadlineOver, "body"),
        (lambda: request([b"x", None]), WireError, "body"),
        (lambda: request([b"x", b""], Content_Encoding="gzip"), WireError, "Content-Encoding"),
    ],
)
def test_a_body_that_is_too_large_too_slow_cut_short_or_packed_is_refused(
    asked: Callable[[], Request], kind: type[WireError], field: str
) -> None:
    bodies = Bodies(EndpointSettings(arrival_s=0.05))
    with pytest.raises(WireError) as refused:
        read(bodies, asked())
    assert (type(refused.value), refused.value.field) == (kind, field)
    assert bodies.held_bytes == 0


def test_bodies_together_hold_no_more_than_they_may_and_what_is_answered_makes_room() -> None:
    bodies = Bodies(EndpointSettings(max_held_bytes=1024))

    async def several() -> list[str]:
        told = []

        async def one(ended: Awaitable[None]) -> None:
            with bodies.one() as body:
                try:
                    await body.read(request([b"x" * 600, b""]), MOST)
                    told.append("read")
                except TooMuchWaits:
                    told.append("refused")
                await ended

        done = asyncio.get_running_loop().create_future()
        first = asyncio.create_task(one(done))
        await asyncio.sleep(0.01)
        await one(asyncio.sleep(0))
        assert bodies.held_bytes == 600
        done.set_result(None)
        await first
        await one(asyncio.sleep(0))
        return told

    assert asyncio.run(several()) == ["read", "refused", "read"]
    assert bodies.held_bytes == 0
