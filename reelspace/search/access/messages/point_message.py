"""Look-ups as they come over gRPC, in the JSON form that `point_request` checks."""

from typing import Any, Final

from reelspace.search.access.filter_message import filter_object
from reelspace.search.access.messages.set_fields import (
    Read,
    as_is,
    point_id,
    point_ids,
    read_nothing,
    set_fields,
    with_payload,
    with_vectors,
)
from reelspace.search.access.point_request import parse_count, parse_retrieve, parse_scroll
from reelspace.search.access.requests import RetrieveRequest, ScrollRequest
from reelspace.search.storage.rows import Fields

_SHARED: Final[dict[str, Read]] = {"collection_name": read_nothing, "timeout": read_nothing}
_SELECTION: Final[dict[str, Read]] = {"with_payload": with_payload, "with_vectors": with_vectors}
_RETRIEVE: Final[dict[str, Read]] = _SHARED | _SELECTION | {"ids": point_ids}
_SCROLL: Final[dict[str, Read]] = _SHARED | _SELECTION | {"filter": filter_object, "offset": point_id, "limit": as_is}
_COUNT: Final[dict[str, Read]] = _SHARED | {"filter": filter_object, "exact": as_is}


def retrieve_of(message: Any, fields: Fields) -> RetrieveRequest:
    """Check a `GetPoints` message; RequestRefused as `parse_retrieve`."""
    return parse_retrieve({"ids": []} | set_fields(message, _RETRIEVE), fields)


def scroll_of(message: Any, fields: Fields) -> ScrollRequest:
    """Check a `ScrollPoints` message; RequestRefused as `parse_scroll`."""
    return parse_scroll(set_fields(message, _SCROLL), fields)


def count_of(message: Any) -> bytes:
    """Check a `CountPoints` message and give its filter; RequestRefused as `parse_count`."""
    return parse_count(set_fields(message, _COUNT))
