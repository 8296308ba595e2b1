"""Queries as they come over gRPC, in the JSON form that `query_request` checks; vectors stay arrays of float32."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from qdrant_client.grpc import qdrant_common_pb2 as common_pb2

from reelspace.search.access.filter_message import filter_object, parse_filter_message
from reelspace.search.access.json_fields import list_of
from reelspace.search.access.messages.payload_message import read_payload
from reelspace.search.access.messages.set_fields import (
    Read,
    as_is,
    chosen,
    dense_vector,
    point_id,
    read_nothing,
    set_fields,
    with_payload,
    with_vectors,
)
from reelspace.search.access.query_request import MAX_SEARCHES, CheckedFilter, encoded, parse_groups, parse_query
from reelspace.search.access.refusal import RequestRefused, not_served
from reelspace.search.access.requests import GroupsRequest, QueryRequest, VectorTarget
from reelspace.search.access.vector_request import parse_vector
from reelspace.search.storage.rows import Fields

STRATEGIES: Final = ("average_vector", "best_score", "sum_scores")
MAX_KNOWN_FILTERS: Final = 1024
MAX_KNOWN_BYTES: Final = 16_384
_UNSERVED_VECTORS: Final = {"sparse": "sparse vectors", "multi_dense": "several vectors in one"}


def query_of(message: Any, fields: Fields, place: str = "") -> QueryRequest:
    """Check a `QueryPoints` message; RequestRefused as `parse_query`."""
    query = message.query
    if query.WhichOneof("variant") != "nearest" or query.nearest.WhichOneof("variant") != "dense":
        return parse_query(set_fields(message, QUERY, place), fields, place)
    # Services ask the same again and again with another vector: what lies around it is checked once.
    vector_D = dense_vector(query.nearest.dense, f"{place}query.nearest")
    data, vector = message.SerializeToString(), vector_D.tobytes()
    start = data.find(vector)
    around = start, data[:start], data[start + len(vector) :]
    known = _KNOWN.get(around)
    if known is None or known.fields is not fields:
        request = parse_query(set_fields(message, QUERY, place), fields, place)
        if len(data) - len(vector) <= MAX_KNOWN_BYTES:
            if len(_KNOWN) >= MAX_KNOWN_FILTERS:
                _KNOWN.clear()
            _KNOWN[around] = _Known(fields, request)
        return request
    return with_vector(known.request, vector_D, fields, place)


def with_vector(request: QueryRequest, vector_D: NDArray[np.float32], fields: Fields, place: str = "") -> QueryRequest:
    """Give a checked request with another vector, which is checked; RequestRefused as `parse_query`."""
    target = VectorTarget(parse_vector(vector_D, fields[request.using], f"{place}query.nearest"))
    # Not by `replace`, which takes longer than all the rest.
    return QueryRequest(
        target,
        request.limit,
        place,
        request.using,
        request.offset,
        request.score_threshold,
        request.where,
        request.selection,
        request.allow_partial,
    )


def queries_of(message: Any, fields: Fields) -> list[QueryRequest]:
    """Check a `QueryBatchPoints` message; RequestRefused as `parse_searches`, whose names of fields it uses."""
    collection = message.collection_name
    searches: list[QueryRequest] = []
    list_of(list(message.query_points), "searches", "queries", MAX_SEARCHES)
    for number, one in enumerate(message.query_points):
        place = f"searches[{number}]."
        if one.collection_name not in ("", collection):
            raise RequestRefused(f"{place}collection_name", f"expected {collection[:80]!r} as around it, got {one.collection_name[:80]!r}")
        searches.append(query_of(one, fields, place))
    return searches


def groups_of(message: Any, fields: Fields) -> GroupsRequest:
    """Check a `QueryPointGroups` message; RequestRefused as `parse_groups`."""
    return parse_groups(set_fields(message, GROUPS), fields)


@dataclass(frozen=True, slots=True)
class _Known:
    """A request that was checked for these fields."""

    fields: Fields
    request: QueryRequest


_KNOWN: Final[dict[tuple[int, bytes, bytes], _Known]] = {}
"""By what lies around the vector, and where that begins."""


@lru_cache(maxsize=MAX_KNOWN_FILTERS)
def _checked(data: bytes) -> CheckedFilter:
    """Check a filter's message, which services send again and again with other vectors."""
    return CheckedFilter(encoded(parse_filter_message(common_pb2.Filter.FromString(data))))


def _filter(message: Any, where: str) -> Any:
    data = message.SerializeToString()
    if len(data) > MAX_KNOWN_BYTES:
        return filter_object(message, where)
    try:
        return _checked(data)
    except RequestRefused:
        return filter_object(message, where)  # refused again, under its own place


def _document(message: Any, where: str) -> dict[str, Any]:
    """Give words that a model shall read."""
    options = {"options": read_payload(message.options, f"{where}.options")} if message.options else {}
    return {"text": message.text, "model": message.model} | options


def _example(message: Any, where: str) -> Any:
    name = chosen(message, "variant", where)
    if name == "dense":
        return dense_vector(message.dense, where)
    if name == "id":
        return point_id(message.id, where)
    if name == "document":
        return _document(message.document, where)
    raise not_served(f"{where}.{name}", _UNSERVED_VECTORS.get(name, f"{where}.{name}"))


def _examples(messages: Any, where: str) -> list[Any]:
    return [_example(one, f"{where}[{number}]") for number, one in enumerate(messages)]


def _query(message: Any, where: str) -> Any:
    name = chosen(message, "variant", where)
    if name == "nearest":
        return _example(message.nearest, where)
    if name != "recommend":
        raise not_served(f"{where}.{name}")
    return {"recommend": set_fields(message.recommend, _RECOMMEND, f"{where}.recommend.")}


def _strategy(value: int, where: str) -> str:
    return STRATEGIES[value] if value < len(STRATEGIES) else str(value)


def _set_params(message: Any, where: str) -> dict[str, Any]:
    return {field.name: True for field, _ in message.ListFields()}


_RECOMMEND: Final[dict[str, Read]] = {"positive": _examples, "negative": _examples, "strategy": _strategy}
_SHARED: Final[dict[str, Read]] = {
    "collection_name": read_nothing,
    "timeout": read_nothing,
    "query": _query,
    "using": as_is,
    "filter": _filter,
    "params": _set_params,
    "score_threshold": as_is,
    "limit": as_is,
    "with_payload": with_payload,
    "with_vectors": with_vectors,
}
QUERY: Final[dict[str, Read]] = _SHARED | {"offset": as_is}
GROUPS: Final[dict[str, Read]] = _SHARED | {"group_by": as_is, "group_size": as_is}
