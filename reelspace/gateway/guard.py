"""Who may come in, and what they may do and see; the same for HTTP and gRPC."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from reelspace.gateway.allowance import Allowance, TooMuchAsked
from reelspace.gateway.keys import ApiKey, KeyRing
from reelspace.gateway.operations import Scope, scope_of
from reelspace.search.access.current_request import current_request
from reelspace.search.access.messages.call import Method
from reelspace.search.access.refusal import RequestRefused

P = ParamSpec("P")
T = TypeVar("T")
API_KEY: Final = "api-key"
_BEARER: Final = "bearer "
# The key of the request that the running task works for: handlers and the collections they see are made once for all keys.
_KEY: Final[ContextVar[ApiKey | None]] = ContextVar("key", default=None)


def secret_of(header: Callable[[str], str | None]) -> str | None:
    """Give the key that came with a request, from its headers by lower-case name; None without one."""
    secret, authorization = header(API_KEY), header("authorization") or ""
    if secret is None and authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip()
    return secret


class Guard:
    """Lets requests in by their keys.

    Answers tell nothing of what a key may not see: not even whether it is there.
    """

    def __init__(self, allowance: Allowance, meaning: Callable[[str], str | None]) -> None:
        """Let everyone in until `use` is called.

        Args:
            meaning: gives the collection that a client's name means, without asking anyone.
        """
        self._allowance = allowance
        self._meaning = meaning
        self._ring: KeyRing | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether no keys are asked for."""
        return self._ring is None

    def use(self, keys: Sequence[ApiKey]) -> None:
        """Let in who has one of these keys, from the next request on."""
        self._ring = KeyRing(keys)
        self._allowance.keep({key.name for key in keys})

    @contextmanager
    def entered(self, secret: str | None) -> Iterator[None]:
        """Let one request in, within what its key may ask for.

        Raises:
            RequestRefused: 401, no key or none that is valid.
            TooMuchAsked: 429.
        """
        if self._ring is None:
            yield
            return
        with self._using(None if secret is None else self._ring.find(secret)):
            yield

    @contextmanager
    def entered_again(self, key_sha256: str | None) -> Iterator[None]:
        """Let one request in of who has shown the key of a hash before; raises as `entered`, also when the key is valid no more."""
        if self._ring is None:
            yield
            return
        with self._using(None if key_sha256 is None else self._ring.of_digest(bytes.fromhex(key_sha256))):
            yield

    @contextmanager
    def _using(self, key: ApiKey | None) -> Iterator[None]:
        if key is None:
            raise _refused("unauthenticated", "expected a valid key in the header api-key, or as Authorization: Bearer", 401)
        request = current_request()
        if request is not None:
            request.key_name = key.name
        token = _KEY.set(key)
        try:
            with self._allowance.used(key):
                yield
        except TooMuchAsked as error:
            _note(error.reason)
            raise
        finally:
            _KEY.reset(token)

    def permitted(self, handler: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Give a handler that checks the scope and the collection of the key first; InternalError where it has no scope."""
        scope = scope_of(handler)
        if scope is None:
            return handler

        @wraps(handler)
        async def checked(*args: P.args, **parts: P.kwargs) -> T:
            self.check_scope(scope)
            name = _collection_of(parts)
            if name is not None:
                self.check_sees(name)
            return await handler(*args, **parts)

        return checked

    def admitted(self, method: Method) -> Method:
        """Give a gRPC method that lets calls in and checks their scope first."""
        scope = scope_of(method)
        if scope is None or self.is_open:
            return method

        async def checked(data: bytes, call: Any) -> bytes:
            with self.entered(secret_of(call.metadata.get)):
                self.check_scope(scope)
                return await method(data, call)

        return checked

    def may(self, scope: Scope) -> bool:
        """Tell whether the current key has a scope."""
        return self._ring is None or scope in self.key().scopes

    def check_scope(self, scope: Scope) -> None:
        """Refuse a key that may not do so much; RequestRefused, 403."""
        if not self.may(scope):
            raise _refused("scope", f"this key has no scope {scope}", 403)

    def check_sees(self, name: str) -> None:
        """Refuse a key that may not see what a name means, be it there or not; RequestRefused, 403."""
        if not self.sees(name):
            raise _refused("collection", "this key may not use this collection", 403)

    def sees(self, name: str) -> bool:
        """Tell whether the current key may see a collection by a name: its own, or another one of the same collection."""
        if self._ring is None:
            return True
        key = self.key()
        if key.sees_all or name in key.collections:
            return True
        full_name = self._meaning(name)
        return full_name is not None and any(self._meaning(own) == full_name for own in key.collections)

    def holds(self, name: str) -> bool:
        """Tell whether the current key lists a name itself, so that it may give it another meaning."""
        return self._ring is None or self.key().sees_all or name in self.key().collections

    def check_holds(self, name: str) -> None:
        """Refuse a key that does not list a name itself; RequestRefused, 403."""
        if not self.holds(name):
            raise _refused("collection", "this key may not use this collection", 403)

    def key(self) -> ApiKey:
        """Give the key of the current request; RequestRefused, 401, where there is none."""
        key = _KEY.get()
        if key is None:
            raise _refused("unauthenticated", "expected a valid key", 401)
        return key


def _collection_of(parts: dict[str, Any]) -> str | None:
    """Give the collection that the parts of an address name; of an address that is not served, its first part."""
    if "feature" in parts:
        return str(parts["feature"]).partition("/")[0]
    return parts.get("collection")


def _refused(reason: str, message: str, status: int) -> RequestRefused:
    _note(reason)
    return RequestRefused(API_KEY, message, status)


def _note(reason: str) -> None:
    request = current_request()
    if request is not None:
        request.refusal = reason
