"""JSON Schemas of what `point_request`, `selection_request` and `write_request` take."""

import math
from typing import Final

from reelspace.search.access.collection_request import MAX_DIMENSION, MAX_VECTORS
from reelspace.search.access.point_request import DEFAULT_PAGE, MAX_IDS, MAX_PAGE
from reelspace.search.access.schemas.shapes import FLAG, Schema, exact, listed, named, nullable, one_of, record, ref, text, whole
from reelspace.search.access.selection_request import MAX_KEYS as MAX_SELECTED
from reelspace.search.access.write_request import MAX_KEYS, MAX_OPERATIONS, MAX_PAYLOAD_DEPTH, MAX_POINTS
from reelspace.search.storage.rows import MAX_SQUARED_LENGTH

_LONGEST: Final = math.sqrt(MAX_SQUARED_LENGTH)
_KEYS: Final = listed(ref("PayloadKey"), MAX_SELECTED)
_BY_IDS: Final = {"points": listed(ref("PointId"), MAX_IDS, 1)}
_BY_FILTER: Final = {"filter": ref("Filter")}
_PAYLOAD: Final = {"payload": ref("Payload")}
SELECTION: Final[dict[str, Schema]] = {
    "with_payload": one_of(FLAG, _KEYS, exact({"include": _KEYS}), exact({"exclude": _KEYS})),
    "with_vector": one_of(FLAG, listed(ref("VectorName"), MAX_SELECTED), description="Also with_vectors."),
}


def _selected(needed: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """Give a change of points by ids, or of all that a filter allows."""
    return one_of(*(record(needed | selector, optional) for selector in (_BY_IDS, _BY_FILTER)))


def _columns(column: Schema, **more: object) -> Schema:
    return listed(column, MAX_POINTS, 1) | more


SCHEMAS: Final[dict[str, Schema]] = {
    "Vector": listed({"type": "number", "minimum": -_LONGEST, "maximum": _LONGEST}, MAX_DIMENSION, 1)
    | {"description": f"As long as the collection says, of a squared length of at most {MAX_SQUARED_LENGTH:.3g}; not zero under cosine."},
    "VectorName": text(description="The name of one of the collection's vectors; that of an only vector may be empty."),
    "Vectors": one_of(ref("Vector"), named(nullable(ref("Vector")), minProperties=1, maxProperties=MAX_VECTORS)),
    "Payload": {"type": "object", "description": f"Any object, with at most {MAX_PAYLOAD_DEPTH} objects and lists inside each other."},
    "Point": record({"id": ref("PointId"), "vector": ref("Vectors")}, _PAYLOAD),
    "Columns": record(
        {
            "ids": _columns(ref("PointId")),
            "vectors": one_of(_columns(ref("Vector")), named(_columns(ref("Vector")), minProperties=1, maxProperties=MAX_VECTORS)),
        },
        {"payloads": _columns(nullable(ref("Payload")))},
        description="Lists of one length.",
    ),
    "Upsert": one_of(record({"points": _columns(ref("Point"))}), record({"batch": ref("Columns")})),
    "Delete": _selected({}) | {"description": "A filter must name a condition."},
    "SetPayload": _selected(_PAYLOAD, {"key": ref("PayloadKey")}),
    "OverwritePayload": _selected(_PAYLOAD),
    "DeletePayload": _selected({"keys": listed(ref("PayloadKey"), MAX_KEYS, 1)}),
    "ClearPayload": _selected({}),
    "Operation": one_of(
        record({"upsert": ref("Upsert")}),
        record({"delete": ref("Delete")}),
        record({"set_payload": ref("SetPayload")}),
        record({"overwrite_payload": ref("OverwritePayload")}),
        record({"delete_payload": ref("DeletePayload")}),
        record({"clear_payload": ref("ClearPayload")}),
    ),
    "Operations": record({"operations": listed(ref("Operation"), MAX_OPERATIONS, 1)}),
    "Retrieve": record({"ids": listed(ref("PointId"), MAX_IDS, 1)}, SELECTION),
    "Scroll": record({}, {**_BY_FILTER, "offset": ref("PointId"), "limit": whole(1, MAX_PAGE, default=DEFAULT_PAGE), **SELECTION}),
    "Count": record({}, {**_BY_FILTER, "exact": FLAG | {"description": "Changes nothing: counts are exact."}}),
}
