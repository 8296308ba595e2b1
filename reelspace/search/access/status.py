"""The HTTP status of an error, which the statuses of gRPC follow, and when to try again."""

from typing import Final

from reelspace.core.errors import DiskFull, ReelspaceError, TemporaryError
from reelspace.search.access.fanout import Overloaded
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.shard_client import ShardTimeout
from reelspace.search.storage.rows import RowRefused
from reelspace.search.storage.writer import LogBusy, RequestKeyReused

# The first that an error is an instance of.
_STATUSES: Final[tuple[tuple[type[ReelspaceError], int], ...]] = (
    (RowRefused, 400),
    (RequestKeyReused, 409),
    (Overloaded, 429),
    (LogBusy, 429),
    (ShardTimeout, 504),
    (DiskFull, 507),
    (TemporaryError, 503),
)

_WHERE_TO_TRY_AGAIN: Final = (429, 503)
SOON_S: Final = 1


def retry_after_s(error: ReelspaceError) -> int | None:
    """Give the seconds after which to try again, None where that changes nothing."""
    if status_of(error) not in _WHERE_TO_TRY_AGAIN:
        return None
    return error.retry_after_s if isinstance(error, RequestRefused) else SOON_S


def status_of(error: ReelspaceError) -> int:
    """Give the status that an error is answered with, 500 for a bug of ours."""
    if isinstance(error, RequestRefused):
        return error.status
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
