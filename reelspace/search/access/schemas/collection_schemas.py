"""JSON Schemas of what `collection_request` takes."""

from typing import Any, Final, get_args

from reelspace.search.access.collection_request import (
    DISTANCES,
    KIND_TUNING,
    KINDS,
    MAX_ACTIONS,
    MAX_DIMENSION,
    MAX_SHARDS,
    MAX_VECTORS,
    ONLY_ONE,
    TUNING,
    VECTOR_TUNING,
)
from reelspace.search.access.schemas.shapes import FLAG, Schema, chosen, listed, named, one_of, record, ref, text, whole
from reelspace.search.storage.layout import IndexKind

_NAME: Final = ref("Name")
_NOTHING: Final[dict[str, Any]] = {"enum": [{}, False], "description": "Of Qdrant's own engine: only what changes nothing."}


def _tuning(names: tuple[str, ...]) -> dict[str, Schema]:
    return dict.fromkeys(names, _NOTHING)


SCHEMAS: Final[dict[str, Schema]] = {
    "Name": text(minLength=1, maxLength=255, description="Printable characters."),
    "IndexTarget": record(
        {},
        {
            "kind": chosen((*get_args(IndexKind), "auto")),
            "recall": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            "max_code_bytes": whole(1, 2**63 - 1),
        },
        description="What the index of a vector must reach; Qdrant has no such field.",
    ),
    "VectorParams": record(
        {"size": whole(1, MAX_DIMENSION), "distance": chosen(DISTANCES)},
        {**_tuning(VECTOR_TUNING), "datatype": {"enum": ["float32", {}, False]}, "index": ref("IndexTarget")},
    ),
    "CreateCollection": record(
        {
            "vectors": one_of(
                ref("VectorParams"),
                named(ref("VectorParams"), minProperties=1, maxProperties=MAX_VECTORS, propertyNames={"maxLength": 64}),
            )
        },
        {"shard_number": whole(1, MAX_SHARDS, default=1), **{name: {"const": 1} for name in ONLY_ONE}, **_tuning(TUNING)},
    ),
    "AliasAction": one_of(
        record({"create_alias": record({"alias_name": _NAME, "collection_name": _NAME})}),
        record({"delete_alias": record({"alias_name": _NAME})}),
        record({"rename_alias": record({"old_alias_name": _NAME, "new_alias_name": _NAME})}),
    ),
    "AliasActions": record({"actions": listed(ref("AliasAction"), MAX_ACTIONS, 1)}),
    "FieldIndex": record(
        {
            "field_name": ref("PayloadKey"),
            "field_schema": one_of(
                chosen(KINDS), record({"type": chosen(KINDS)}, {**_tuning(KIND_TUNING), **dict.fromkeys(("lookup", "range"), FLAG)})
            ),
        }
    ),
}
