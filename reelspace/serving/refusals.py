"""Why an inference request is refused besides being wrong in itself."""

from typing import ClassVar

from reelspace.serving.wire import WireError


class NotServed(WireError):
    """A model, a version or a call that is not there for clients."""

    status: ClassVar[int] = 404
    reason: ClassVar[str] = "not_served"


class NotAllowed(WireError):
    """A call that Triton knows and that no client may make: who loads models and maps memory is not a client."""

    status: ClassVar[int] = 403
    reason: ClassVar[str] = "not_allowed"


class BodyTooLarge(WireError):
    """A body with more bytes than any valid request of the model has."""

    status: ClassVar[int] = 413
    reason: ClassVar[str] = "too_large"


class DeadlineOver(WireError):
    """What was asked was not done within the time that the client gives, or took the client too long to send."""

    status: ClassVar[int] = 408
    reason: ClassVar[str] = "deadline"


class TooMuchWaits(WireError):
    """As much waits already as may; what was asked is not begun."""

    status: ClassVar[int] = 429
    reason: ClassVar[str] = "overloaded"
