"""A gRPC call as its method sees it.

What the address and headers say over HTTP, the message and the metadata say here.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from reelspace.search.access.http_request import MAX_KEY_LENGTH, MAX_TIMEOUT_S
from reelspace.search.access.refusal import RequestRefused

IDEMPOTENCY_KEY: Final = "idempotency-key"


@dataclass(frozen=True, slots=True)
class Call:
    """What came with a message: seconds left until the client's deadline, None without one; metadata by lower-case name."""

    timeout_s: float | None
    metadata: Mapping[str, str]

    def limit_s(self, message: Any, default_s: float) -> float:
        """Give the time for the call: what the message asks for, or the default, but never beyond the client's deadline."""
        wanted_s = default_s
        if message.HasField("timeout"):
            wanted_s = float(message.timeout)
            if not 0 < wanted_s <= MAX_TIMEOUT_S:
                raise RequestRefused("timeout", f"expected seconds above 0, at most {MAX_TIMEOUT_S:.0f}, got '{message.timeout}'")
        return self.within_s(wanted_s)

    def within_s(self, default_s: float) -> float:
        """Give the time for a call whose message cannot ask for any."""
        return default_s if self.timeout_s is None else min(default_s, self.timeout_s)

    @property
    def request_key(self) -> str | None:
        """Give the client's own name of a write, under which it may be sent again."""
        key = self.metadata.get(IDEMPOTENCY_KEY)
        if key is not None and not (1 <= len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
            raise RequestRefused(IDEMPOTENCY_KEY, f"expected 1 to {MAX_KEY_LENGTH} printable ASCII characters")
        return key


Method: TypeAlias = Callable[[bytes, Call], Awaitable[bytes]]
"""Takes the bytes of one message and gives those of another; its errors are those of our tree."""
MethodNow: TypeAlias = Callable[[bytes, Call], bytes | None]
"""The same without waiting for anything; None, or an error, says that the method must be called."""
