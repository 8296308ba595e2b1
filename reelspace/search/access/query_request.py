"""A client's query in the Qdrant dialect, checked strictly: what is not understood is refused by name, never skipped."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from reelspace.search.access.filter_request import parse_filter, parse_point_id
from reelspace.search.access.json_fields import flag, list_of, object_of, payload_key, refuse_unknown, required, whole
from reelspace.search.access.refusal import RequestRefused, kind_of, not_served
from reelspace.search.access.requests import (
    GroupsRequest,
    PointTarget,
    QueryRequest,
    RecommendTarget,
    Target,
    TextTarget,
    VectorTarget,
)
from reelspace.search.access.selection_request import parse_selection
from reelspace.search.access.vector_request import names_of, parse_vector
from reelspace.search.compute.filters import Filter, encode_filter
from reelspace.search.storage.rows import Fields, VectorField

MAX_LIMIT: Final = 2048
MAX_SEARCHES: Final = 512
MAX_EXAMPLES: Final = 1024
MAX_TEXT_BYTES: Final = 16_384
DEFAULT_LIMIT: Final = 10
DEFAULT_GROUP_SIZE: Final = 3


SHARED_KEYS: Final = ("query", "using", "filter", "limit", "score_threshold", "with_payload", "with_vector", "with_vectors", "params")
QUERY_KEYS: Final = (*SHARED_KEYS, "offset", "allow_partial")
GROUPS_KEYS: Final = (*SHARED_KEYS, "group_by", "group_size")
UNSERVED_KEYS: Final = frozenset(
    {"prefetch", "lookup_from", "shard_key", "with_lookup", "offset", "allow_partial", "group_by", "group_size"}
)
PARAMS: Final = ("hnsw_ef", "exact", "quantization", "indexed_only", "acorn", "idf")
UNSERVED_QUERIES: Final = frozenset(
    {"discover", "context", "order_by", "fusion", "rrf", "sample", "formula", "mmr", "relevance_feedback"}
    | {"indices", "values", "image", "object"}
)
UNSERVED_STRATEGIES: Final = frozenset({"best_score", "sum_scores"})
_WANTED: Final = "a vector, a point id, or {text, model}"

Example = VectorTarget | PointTarget | TextTarget


@dataclass(frozen=True, slots=True)
class CheckedFilter:
    """A filter that was checked before, in the place of its JSON form."""

    encoded: bytes


def parse_query(value: Any, fields: Fields, place: str = "") -> QueryRequest:
    """Check one query object.

    Args:
        fields: the vectors of the collection.
        place: what comes before field names in messages, as `searches[3].`.

    Raises:
        RequestRefused: 400 naming the field, or 501 naming a feature of Qdrant's that is not served.
    """
    given = object_of(value, place.rstrip(".") or "body")
    refuse_unknown(given, QUERY_KEYS, place, UNSERVED_KEYS)
    return _query(given, fields, place, whole(given.get("offset", 0), f"{place}offset", 0, MAX_LIMIT))


def parse_searches(value: Any, fields: Fields) -> list[QueryRequest]:
    """Check the queries of a batch; the first bad one is named and nothing is searched."""
    given = object_of(value, "body")
    refuse_unknown(given, ("searches",), "")
    searches = list_of(required(given, "searches", "", "a list of queries"), "searches", "queries", MAX_SEARCHES)
    return [parse_query(search, fields, f"searches[{number}].") for number, search in enumerate(searches)]


def parse_groups(value: Any, fields: Fields) -> GroupsRequest:
    """Check a query whose hits come in groups."""
    given = object_of(value, "body")
    refuse_unknown(given, GROUPS_KEYS, "", UNSERVED_KEYS)
    payload_key(required(given, "group_by", "", "the key of a payload value"), "group_by")
    size = whole(given.get("group_size", DEFAULT_GROUP_SIZE), "group_size", 1, MAX_LIMIT)
    query = _query(given, fields, "", 0)
    if query.limit * size > MAX_LIMIT:
        raise RequestRefused("group_size", f"expected at most {MAX_LIMIT} hits in all groups, got {query.limit} times {size}")
    return GroupsRequest(query, given["group_by"], size)


def encoded(where: Filter) -> bytes:
    """Give a filter as shards take it; empty allows every row."""
    return b"" if where == Filter() else encode_filter(where)


def parse_where(given: Mapping[str, Any], place: str = "") -> bytes:
    """Check the key `filter` of a request and give it as shards take it; empty allows every row."""
    if "filter" not in given:
        return b""
    value = given["filter"]
    if isinstance(value, CheckedFilter):
        return value.encoded
    where = parse_filter(value, f"{place}filter")
    return encoded(where)


def _query(given: Mapping[str, Any], fields: Fields, place: str, offset: int) -> QueryRequest:
    using = given.get("using", "")
    if not isinstance(using, str) or using not in fields:
        raise RequestRefused(f"{place}using", f"expected the name of a vector, one of {names_of(fields)}; got {using!r:.60}")
    if "params" in given:
        _check_params(given["params"], f"{place}params")
    limit = whole(given.get("limit", DEFAULT_LIMIT), f"{place}limit", 1, MAX_LIMIT)
    if offset + limit > MAX_LIMIT:
        raise RequestRefused(f"{place}offset", f"expected offset and limit to be at most {MAX_LIMIT} together, got {offset} and {limit}")
    return QueryRequest(
        target=_target(required(given, "query", place, _WANTED), fields[using], f"{place}query"),
        limit=limit,
        place=place,
        using=using,
        offset=offset,
        score_threshold=_threshold(given["score_threshold"], f"{place}score_threshold") if "score_threshold" in given else None,
        where=parse_where(given, place),
        selection=parse_selection(given, fields, place),
        allow_partial=flag(given.get("allow_partial", False), f"{place}allow_partial"),
    )


def _target(value: Any, known: VectorField, where: str) -> Target:
    if isinstance(value, dict):
        if "nearest" in value:
            return _nearest(value, known, where)
        if "recommend" in value:
            refuse_unknown(value, ("recommend",), f"{where}.")
            return _recommend(value["recommend"], known, f"{where}.recommend")
    return _example(value, known, where)


def _nearest(value: Mapping[str, Any], known: VectorField, where: str) -> Target:
    given = object_of(value, where)
    refuse_unknown(given, ("nearest",), f"{where}.", UNSERVED_QUERIES)
    return _example(given.get("nearest"), known, f"{where}.nearest")


def _recommend(value: Any, known: VectorField, where: str) -> RecommendTarget:
    given = object_of(value, where)
    refuse_unknown(given, ("positive", "negative", "strategy"), f"{where}.")
    strategy = given.get("strategy", "average_vector")
    if strategy != "average_vector":
        if isinstance(strategy, str) and strategy in UNSERVED_STRATEGIES:
            raise not_served(f"{where}.strategy", f"the strategy {strategy}")
        raise RequestRefused(f"{where}.strategy", f"expected average_vector, got {strategy!r:.40}")
    positive, negative = (_examples(given.get(name, []), known, f"{where}.{name}") for name in ("positive", "negative"))
    if not positive:
        raise RequestRefused(f"{where}.positive", "expected at least one example")
    return RecommendTarget(positive, negative)


def _examples(value: Any, known: VectorField, where: str) -> tuple[Example, ...]:
    examples = list_of(value, where, "examples", MAX_EXAMPLES // 2, 0)
    return tuple(_example(one, known, f"{where}[{number}]") for number, one in enumerate(examples))


def _example(value: Any, known: VectorField, where: str) -> Example:
    if isinstance(value, list | np.ndarray):
        return VectorTarget(parse_vector(value, known, where))
    if isinstance(value, dict):
        return _text(value, where)
    if type(value) is int or isinstance(value, str):
        return PointTarget(parse_point_id(value, where))
    raise RequestRefused(where, f"expected {_WANTED}, got {kind_of(value)}")


def _text(value: Mapping[str, Any], where: str) -> TextTarget:
    feature = next((key for key in value if key in UNSERVED_QUERIES), None)
    if feature is not None:
        raise not_served(f"{where}.{feature}")
    given = object_of(value, where)
    if "text" not in given:
        raise RequestRefused(where, f"expected {{text, model}}, got the keys {', '.join(key[:40] for key in list(value)[:8])}")
    refuse_unknown(given, ("text", "model", "options"), f"{where}.")
    if object_of(given.get("options", {}), f"{where}.options"):
        raise not_served(f"{where}.options")
    text, model = given["text"], given.get("model")
    if not isinstance(model, str):
        raise RequestRefused(f"{where}.model", f"expected the name of a text encoder, got {kind_of(model)}")
    if not isinstance(text, str) or not text.strip() or len(text.encode()) > MAX_TEXT_BYTES:
        raise RequestRefused(f"{where}.text", f"expected words, at most {MAX_TEXT_BYTES} bytes of them")
    return TextTarget(text, model)


def _threshold(value: Any, where: str) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise RequestRefused(where, f"expected a finite number, got {value!r:.40}")
    return float(value)


def _check_params(value: Any, where: str) -> None:
    given = object_of(value, where)
    refuse_unknown(given, PARAMS, f"{where}.")
    for name in given:
        raise not_served(f"{where}.{name}")
