"""Sign-ins of browsers, which cannot send a key with every request.

A browser keeps a random token in a cookie that scripts cannot read and that no other site can make it send. This process keeps the
token's hash, with the hash of the key that was shown for it; the key itself is kept nowhere. Whether the key still is in the file, has
not expired, and what it may do is asked anew for every request.
"""

from collections.abc import Callable
from hashlib import sha256
from secrets import token_urlsafe
from typing import Final

from starlette.requests import cookie_parser

from reelspace.gateway.console.addresses import ROOT

COOKIE: Final = "reelspace-console"
SESSION_S: Final = 8 * 3600
MAX_SESSIONS: Final = 256
TOKEN_BYTES: Final = 32


def cookie(token: str, *, secure: bool) -> str:
    """Write the header that sets the cookie, or, with an empty token, removes it."""
    return f"{COOKIE}={token}; Path={ROOT}; Max-Age={SESSION_S if token else 0}; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"


class Sessions:
    """The sign-ins that this process knows, the last MAX_SESSIONS of them; `clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._keys: dict[bytes, tuple[str, float]] = {}

    def begin(self, key_sha256: str) -> str:
        """Begin one for who has shown a key, given by its hash; gives the token."""
        now_s, token = self._clock(), token_urlsafe(TOKEN_BYTES)
        self._keys = {hashed: one for hashed, one in self._keys.items() if one[1] > now_s}
        while len(self._keys) >= MAX_SESSIONS:
            del self._keys[next(iter(self._keys))]
        self._keys[_hash(token)] = key_sha256, now_s + SESSION_S
        return token

    def key_of(self, cookies: str | None) -> str | None:
        """Give the hash of the key that was shown for a request's header Cookie, None where there is no sign-in."""
        key_sha256, ends_s = self._keys.get(_token_hash(cookies), ("", 0.0))
        return key_sha256 if self._clock() < ends_s else None

    def end(self, cookies: str | None) -> None:
        """Forget the one of a request's header Cookie."""
        self._keys.pop(_token_hash(cookies), None)


def _token_hash(cookies: str | None) -> bytes:
    return _hash(cookie_parser(cookies or "").get(COOKIE, ""))


def _hash(token: str) -> bytes:
    # Looked up by its hash, so that the time of the look-up tells nothing of tokens.
    return sha256(token.encode(errors="replace")).digest()
