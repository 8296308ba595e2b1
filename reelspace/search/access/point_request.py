"""A client's look-ups in the Qdrant dialect: rows by id, page by page, and their number."""

from collections.abc import Mapping
from typing import Any, Final

from reelspace.search.access.filter_request import parse_point_id
from reelspace.search.access.json_fields import body_object, flag, list_of, required, whole
from reelspace.search.access.query_request import parse_where
from reelspace.search.access.requests import RetrieveRequest, ScrollRequest
from reelspace.search.access.selection_request import KEYS, parse_selection
from reelspace.search.storage.ids import Id
from reelspace.search.storage.rows import Fields

MAX_IDS: Final = 10_000
MAX_PAGE: Final = 10_000
DEFAULT_PAGE: Final = 10


def parse_retrieve(value: Any, fields: Fields) -> RetrieveRequest:
    """Check a look-up by ids; RequestRefused names the field."""
    given = body_object(value, ("ids", *KEYS), ("shard_key",))
    return RetrieveRequest(parse_ids(given, "ids"), parse_selection(given, fields, payload=True))


def parse_scroll(value: Any, fields: Fields) -> ScrollRequest:
    """Check the request for a page of rows; RequestRefused names the field."""
    given = body_object(value, ("filter", "offset", "limit", *KEYS), ("order_by", "shard_key"))
    offset = parse_point_id(given["offset"], "offset") if "offset" in given else None
    limit = whole(given.get("limit", DEFAULT_PAGE), "limit", 1, MAX_PAGE)
    return ScrollRequest(parse_where(given), offset, limit, parse_selection(given, fields, payload=True))


def parse_count(value: Any) -> bytes:
    """Check the request for a number of rows and give its filter; it is exact, whatever the client says about that."""
    given = body_object(value, ("filter", "exact"), ("shard_key",))
    flag(given.get("exact", True), "exact")
    return parse_where(given)


def parse_ids(given: Mapping[str, Any], key: str, place: str = "") -> tuple[Id, ...]:
    """Check a list of 1 to MAX_IDS ids."""
    where = f"{place}{key}"
    ids = list_of(required(given, key, place, "a list of point ids"), where, "point ids", MAX_IDS)
    return tuple(parse_point_id(one, f"{where}[{number}]") for number, one in enumerate(ids))
