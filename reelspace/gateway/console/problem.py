"""An error as people read it on a page."""

from dataclasses import dataclass

from reelspace.core.errors import ReelspaceError
from reelspace.core.log import log
from reelspace.search.access.status import status_of
from reelspace.serving.wire import WireError


@dataclass(frozen=True, slots=True)
class Problem:
    """The HTTP status, and words."""

    status: int
    words: str


def problem_of(error: ReelspaceError) -> Problem:
    """Give the problem of an error; what is a bug of ours is logged, too."""
    status = error.status if isinstance(error, WireError) else status_of(error)
    if status == 500:
        log("request_failed", error=type(error).__name__, message=str(error))
    return Problem(status, " ".join(str(error).split()))
