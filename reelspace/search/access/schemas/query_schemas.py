"""JSON Schemas of what `query_request` takes."""

from typing import Final

from reelspace.search.access.query_request import (
    DEFAULT_GROUP_SIZE,
    DEFAULT_LIMIT,
    MAX_EXAMPLES,
    MAX_LIMIT,
    MAX_SEARCHES,
    MAX_TEXT_BYTES,
)
from reelspace.search.access.schemas.point_schemas import SELECTION
from reelspace.search.access.schemas.shapes import FLAG, Schema, exact, listed, one_of, record, ref, text, whole

# Python takes some control characters for spaces that JavaScript, after which JSON Schema goes, does not.
_WORDS: Final = r"[^\s\x1c-\x1f\x85]"
_EXAMPLES: Final = MAX_EXAMPLES // 2
_QUERY: Final[dict[str, Schema]] = {"query": ref("Target")}
_SHARED: Final[dict[str, Schema]] = {
    "using": ref("VectorName"),
    "filter": ref("Filter"),
    "limit": whole(1, MAX_LIMIT, default=DEFAULT_LIMIT),
    "score_threshold": {"type": "number"},
    "params": record({}, description="None of Qdrant's is served."),
    **SELECTION,
}

SCHEMAS: Final[dict[str, Schema]] = {
    "Words": record(
        {"text": text(pattern=_WORDS, maxLength=MAX_TEXT_BYTES), "model": text(description="The name of a promoted text encoder.")},
        {"options": record({})},
    ),
    "Example": one_of(ref("Vector"), ref("PointId"), ref("Words")),
    "Recommend": record(
        {"positive": listed(ref("Example"), _EXAMPLES, 1)},
        {"negative": listed(ref("Example"), _EXAMPLES), "strategy": {"const": "average_vector"}},
    ),
    "Target": one_of(ref("Example"), record({"nearest": ref("Example")}), exact({"recommend": ref("Recommend")})),
    "Query": record(
        _QUERY,
        {**_SHARED, "offset": whole(0, MAX_LIMIT, default=0), "allow_partial": FLAG},
        description=f"offset and limit are at most {MAX_LIMIT} together.",
    ),
    "Queries": record({"searches": listed(ref("Query"), MAX_SEARCHES, 1)}),
    "GroupsQuery": record(
        {**_QUERY, "group_by": ref("PayloadKey")},
        {**_SHARED, "group_size": whole(1, MAX_LIMIT, default=DEFAULT_GROUP_SIZE)},
        description=f"At most {MAX_LIMIT} hits in all groups.",
    ),
}
