"""A client's query in the Qdrant dialect, checked strictly: what is not understood is refused by name, never skipped.

Legend: D dimension.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from reelspace.search.access.refusal import RequestRefused, kind_of, not_served
from reelspace.search.access.text_encoder import MAX_TEXT_BYTES, MODEL

MAX_LIMIT: Final = 2048
MAX_EXCLUDED: Final = 1024
MAX_SEARCHES: Final = 512
DEFAULT_LIMIT: Final = 10
MAX_ID: Final = 2**63 - 1
KNOWN_KEYS: Final = ("query", "limit", "with_payload", "filter", "allow_partial")
QDRANT_KEYS: Final = frozenset(
    {"prefetch", "using", "params", "score_threshold", "offset", "with_vector", "with_vectors", "lookup_from", "shard_key"}
    | {"group_by", "group_size", "with_lookup"}
)
QDRANT_QUERIES: Final = frozenset(
    {"recommend", "discover", "context", "order_by", "fusion", "rrf", "sample", "formula", "mmr", "relevance_feedback"}
    | {"indices", "values", "image", "object"}
)
FILTER_KEYS: Final = frozenset({"must", "should", "min_should", "must_not"})


@dataclass(frozen=True, slots=True)
class TextTarget:
    """Nearest to words."""

    text: str


@dataclass(frozen=True, slots=True)
class PointTarget:
    """Nearest to a stored point, which is no hit itself."""

    point_id: int


@dataclass(frozen=True, slots=True)
class VectorTarget:
    """Nearest to a vector, scaled to length 1."""

    vector_D: NDArray[np.float32]


Target = TextTarget | PointTarget | VectorTarget


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """One checked query; `where` is the prefix of its fields in messages, as `searches[3].`."""

    where: str
    target: Target
    limit: int
    with_payload: bool
    excluded: tuple[int, ...]
    allow_partial: bool


def parse_query(value: Any, dimension: int, where: str = "") -> QueryRequest:
    """Check one query object.

    Args:
        where: prefix of field names in messages, as `searches[3].`.

    Raises:
        RequestRefused: 400 naming the field, or 501 naming a feature of Qdrant's that is not served.
    """
    if not isinstance(value, dict):
        raise RequestRefused(where.rstrip(".") or "body", f"expected an object, got {kind_of(value)}")
    given = {key: item for key, item in value.items() if item is not None}
    _refuse_strange(given, where)
    if "query" not in given:
        raise RequestRefused(f"{where}query", "missing; expected a vector, a point id, or {text, model}")
    return QueryRequest(
        where=where,
        target=_target(given["query"], dimension, f"{where}query"),
        limit=_limit(given.get("limit", DEFAULT_LIMIT), f"{where}limit"),
        with_payload=_flag(given.get("with_payload", False), f"{where}with_payload"),
        excluded=_excluded(given.get("filter", {}), f"{where}filter"),
        allow_partial=_flag(given.get("allow_partial", False), f"{where}allow_partial"),
    )


def parse_searches(value: Any, dimension: int) -> list[QueryRequest]:
    """Check the queries of a batch; the first bad one is named and nothing is searched."""
    if not isinstance(value, dict) or set(value) != {"searches"}:
        raise RequestRefused("body", "expected an object with the one key searches")
    searches = value["searches"]
    if not isinstance(searches, list) or not 1 <= len(searches) <= MAX_SEARCHES:
        raise RequestRefused("searches", f"expected a list of 1 to {MAX_SEARCHES} queries")
    return [parse_query(search, dimension, f"searches[{number}].") for number, search in enumerate(searches)]


def _refuse_strange(given: Mapping[str, Any], where: str) -> None:
    for key, item in given.items():
        if key in KNOWN_KEYS or (key == "offset" and item == 0) or (key in ("with_vector", "with_vectors") and item is False):
            continue
        if key in QDRANT_KEYS:
            raise not_served(f"{where}{key}")
        close = difflib.get_close_matches(key, KNOWN_KEYS, n=1)
        hint = f", the nearest is {close[0]!r}" if close else f", known here: {', '.join(KNOWN_KEYS)}"
        raise RequestRefused(f"{where}{key[:80]}", f"unknown{hint}")


def _target(value: Any, dimension: int, where: str) -> Target:
    if isinstance(value, list):
        return VectorTarget(_vector(value, dimension, where))
    if isinstance(value, dict):
        return _object_target(value, dimension, where)
    if type(value) is int:
        return PointTarget(_point_id(value, where))
    if isinstance(value, str):
        raise not_served(where, "point ids that are UUIDs")
    raise RequestRefused(where, f"expected a vector, a point id, or {{text, model}}, got {kind_of(value)}")


def _object_target(value: Mapping[str, Any], dimension: int, where: str) -> Target:
    if set(value) == {"nearest"}:
        return _target(value["nearest"], dimension, f"{where}.nearest")
    feature = next((key for key in value if key in QDRANT_QUERIES), None)
    if feature is not None:
        raise not_served(f"{where}.{feature}")
    if not set(value) <= {"text", "model", "options"} or "text" not in value:
        raise RequestRefused(where, f"expected {{text, model}}, got the keys {', '.join(key[:40] for key in list(value)[:8])}")
    if value.get("options"):
        raise not_served(f"{where}.options")
    if value.get("model") != MODEL:
        raise RequestRefused(f"{where}.model", f"expected {MODEL!r}, got {value.get('model')!r:.80}")
    text = value["text"]
    if not isinstance(text, str) or not text.strip() or len(text.encode()) > MAX_TEXT_BYTES:
        raise RequestRefused(f"{where}.text", f"expected words, at most {MAX_TEXT_BYTES} bytes of them")
    return TextTarget(text)


def _vector(value: Sequence[Any], dimension: int, where: str) -> NDArray[np.float32]:
    if len(value) != dimension:
        raise RequestRefused(where, f"expected a vector of length {dimension}, got {len(value)}")
    for position, component in enumerate(value):
        if type(component) is not float and type(component) is not int:
            raise RequestRefused(f"{where}[{position}]", f"expected a number, got {kind_of(component)}")
    # Checked after the cast: a number can be finite in JSON and not in float32.
    with np.errstate(over="ignore"):
        vector_D = np.array(value, dtype=np.float64).astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(vector_D))
    if len(bad):
        raise RequestRefused(f"{where}[{bad[0]}]", "expected a finite float32 number")
    return unit(vector_D, where)


def unit(vector_D: NDArray[np.float32], where: str) -> NDArray[np.float32]:
    """Scale a finite vector to length 1; RequestRefused for all zeros, which have no direction."""
    wide_D = vector_D.astype(np.float64)
    norm = float(np.linalg.norm(wide_D))
    if norm == 0:
        raise RequestRefused(where, "expected a vector that is not all zeros: cosine needs a direction")
    scaled_D: NDArray[np.float32] = (wide_D / norm).astype(np.float32)
    return scaled_D


def _limit(value: Any, where: str) -> int:
    if type(value) is not int or not 1 <= value <= MAX_LIMIT:
        raise RequestRefused(where, f"expected a whole number from 1 to {MAX_LIMIT}, got {value!r:.40}")
    return value


def _flag(value: Any, where: str) -> bool:
    if isinstance(value, dict | list):
        raise not_served(where, f"{where} with chosen fields")
    if not isinstance(value, bool):
        raise RequestRefused(where, f"expected true or false, got {value!r:.40}")
    return value


def _excluded(value: Any, where: str) -> tuple[int, ...]:
    if not isinstance(value, dict):
        raise RequestRefused(where, f"expected an object, got {kind_of(value)}")
    ids: dict[int, None] = {}
    for key, conditions in value.items():
        if key not in FILTER_KEYS:
            raise RequestRefused(f"{where}.{key[:80]}", "unknown; known here: must_not")
        if conditions is None or conditions == []:
            continue
        if key != "must_not":
            raise not_served(f"{where}.{key}")
        listed = conditions if isinstance(conditions, list) else [conditions]
        for number, condition in enumerate(listed):
            ids.update(dict.fromkeys(_has_id(condition, f"{where}.must_not[{number}]")))
    if len(ids) > MAX_EXCLUDED:
        raise RequestRefused(f"{where}.must_not", f"expected at most {MAX_EXCLUDED} ids, got {len(ids)}")
    return tuple(ids)


def _has_id(condition: Any, where: str) -> list[int]:
    if not isinstance(condition, dict) or not condition:
        raise RequestRefused(where, f"expected a condition, got {kind_of(condition)}")
    if set(condition) != {"has_id"}:
        raise not_served(where, f"conditions on {', '.join(key[:40] for key in list(condition)[:4])}")
    ids = condition["has_id"]
    if not isinstance(ids, list):
        raise RequestRefused(f"{where}.has_id", f"expected a list of ids, got {kind_of(ids)}")
    return [_point_id(value, f"{where}.has_id[{number}]") for number, value in enumerate(ids)]


def _point_id(value: Any, where: str) -> int:
    if type(value) is not int or not 0 <= value <= MAX_ID:
        raise RequestRefused(where, f"expected a point id from 0 to {MAX_ID}, got {value!r:.40}")
    return value
