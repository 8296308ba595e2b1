"""The request that the running task works for: its id, and the trace that calls made for its sake belong to.

Handlers, shards and Triton's client know nothing of each other's arguments, so it travels with the task, as traces do everywhere.
"""

from collections.abc import Sequence
from contextvars import Context, ContextVar
from dataclasses import dataclass
from typing import Final


@dataclass(eq=False, slots=True)
class CurrentRequest:
    """One request.

    Attributes:
        id: told to the client and in the access log.
        traceparent: header of W3C's trace context for calls made for it; None where the client sent none.
        space_id: the space that its vectors are of, where the client says so.
        key_name: whose API key it came with, once that is known.
        refusal: why it was refused, if it was.
        model: the promoted model that it asked, and `version` the one that answered, where there is any.
    """

    id: str
    traceparent: str | None = None
    space_id: str | None = None
    key_name: str | None = None
    refusal: str | None = None
    model: str | None = None
    version: str | None = None


_CURRENT: Final[ContextVar[CurrentRequest | None]] = ContextVar("current_request", default=None)


def begin(request: CurrentRequest) -> None:
    """Work for a request from now on, in the running task and those that it starts."""
    _CURRENT.set(request)


def current_request() -> CurrentRequest | None:
    """Give the request that the running task works for, None outside of a gateway."""
    return _CURRENT.get()


def trace_headers() -> dict[str, str] | None:
    """Give the headers of a call made for the current request; None without a trace."""
    request = _CURRENT.get()
    return {"traceparent": request.traceparent} if request is not None and request.traceparent is not None else None


def first_traced(contexts: Sequence[Context]) -> Context:
    """Give the context of the first request that belongs to a trace, of the first one if none does: who a shared call is made for."""
    for context in contexts:
        request = context.get(_CURRENT)
        if request is not None and request.traceparent is not None:
            return context
    return contexts[0]
