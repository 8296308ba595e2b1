"""What answers the requests of an HTTP/2 server, as its connections see it."""

from dataclasses import dataclass
from typing import Protocol, TypeVar

from reelspace.gateway.http2.headers import Pairs

H = TypeVar("H")


@dataclass(frozen=True, slots=True)
class Answer:
    """Header block, body, and the block of trailers; without trailers the headers are all there is."""

    head: bytes
    body: bytes = b""
    tail: bytes | None = None


class Application(Protocol[H]):
    """Answers requests; H is what it reads from a header block, once for all requests that begin with the same one."""

    def read_head(self, pairs: Pairs) -> H:
        """Read the headers of a request; raises nothing, what is wrong with them is for `answer`."""

    async def answer(self, head: H, body: bytes, came_s: float) -> Answer:
        """Answer a request whose headers came at came_s in the loop's time; cancelled when nobody waits any longer."""

    def answer_now(self, head: H, body: bytes, came_s: float) -> Answer | None:
        """Answer a request that came alone, on the spot; None where that takes more, or fails: then `answer` must be asked."""

    def failed(self, head: H, error: BaseException) -> Answer:
        """Answer in the place of an `answer` that raised."""

    def too_large(self, head: H) -> Answer:
        """Answer a request whose body is larger than may be."""

    def too_busy(self, head: H) -> Answer:
        """Answer a request whose body cannot be held beside those of others."""

    def too_slow(self, head: H) -> Answer:
        """Answer a request that did not arrive whole in time, or is worked on for too long."""
