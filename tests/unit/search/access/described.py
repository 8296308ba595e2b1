"""The document of the dialect, as clients read it, and narrowed to one small collection, so that what fits it may be asked of that one."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator

from reelspace.gateway.described_app import DescribedApp
from reelspace.search.access.collection_request import parse_alias_actions, parse_create, parse_field_index
from reelspace.search.access.point_request import parse_count, parse_retrieve, parse_scroll
from reelspace.search.access.query_request import parse_groups, parse_query, parse_searches
from reelspace.search.access.routes import dialect_router
from reelspace.search.access.write_request import (
    parse_clear_payload,
    parse_delete,
    parse_delete_payload,
    parse_operations,
    parse_overwrite_payload,
    parse_set_payload,
    parse_upsert,
)
from reelspace.search.storage.rows import VectorField

FIELDS: Final = {"": VectorField(2, "dot"), "cover": VectorField(2, "euclid")}
PARSERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "Query": lambda body: parse_query(body, FIELDS),
    "Queries": lambda body: parse_searches(body, FIELDS),
    "GroupsQuery": lambda body: parse_groups(body, FIELDS),
    "Retrieve": lambda body: parse_retrieve(body, FIELDS),
    "Scroll": lambda body: parse_scroll(body, FIELDS),
    "Count": parse_count,
    "Upsert": lambda body: parse_upsert(body, FIELDS),
    "Delete": parse_delete,
    "SetPayload": parse_set_payload,
    "OverwritePayload": parse_overwrite_payload,
    "DeletePayload": parse_delete_payload,
    "ClearPayload": parse_clear_payload,
    "Operations": lambda body: parse_operations(body, FIELDS),
    "CreateCollection": parse_create,
    "AliasActions": parse_alias_actions,
    "FieldIndex": parse_field_index,
}
"""What reads the body of each schema that is a body."""
BEYOND: Final = (
    "at most 2048",
    "as long as ids",
    "an empty filter",
    "expected a time as",
    "printable characters",
    "at least one vector",
    "without dense vectors",
    "expected a squared length of at most",
    "expected a finite float32 number",
)
"""Why a body that fits its schema may be refused nevertheless: what JSON Schema cannot say, and descriptions do."""
_NARROWED: Final[dict[str, Any]] = {
    "Vector": {"type": "array", "items": {"type": "number", "minimum": -1e9, "maximum": 1e9}, "minItems": 2, "maxItems": 2},
    "VectorName": {"enum": list(FIELDS)},
    "Name": {"type": "string", "pattern": "^[a-z]{1,8}$"},
    "PayloadKey": {"type": "string", "pattern": r"^[a-c](\.b|\[\]|\[0\])?$"},
}


def document() -> dict[str, Any]:
    """Give /openapi.json as clients read it."""
    app = DescribedApp(title="reelspace")
    app.include_router(dialect_router(lambda: None))  # type: ignore[arg-type,return-value]
    found: dict[str, Any] = json.loads(json.dumps(app.openapi()))
    return found


def narrowed(full: dict[str, Any], *, nulls: bool = False, short: bool = True) -> dict[str, Any]:
    """Let vectors be the collection's.

    Args:
        nulls: let keys that mean nothing be null, as the document does; bodies made from it would be full of them.
        short: let no vector be too long, and payload keys and names be few; others are not bad for all that.
    """
    narrow = json.loads(json.dumps(full))
    narrow = narrow if nulls else _without_null_keys(narrow)
    schemas = narrow["components"]["schemas"]
    any_length = {"Vector": _NARROWED["Vector"] | {"items": {"type": "number"}}, "VectorName": _NARROWED["VectorName"]}
    schemas.update(_NARROWED if short else any_length)
    by_name = schemas["Vectors"]["anyOf"][1], schemas["Columns"]["properties"]["vectors"]["anyOf"][1]
    for one in by_name:
        one["propertyNames"] = _NARROWED["VectorName"]
        one["maxProperties"] = len(FIELDS)
    return narrow  # type: ignore[no-any-return]


def operations(full: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give path, method and description of every operation."""
    for path, methods in full["paths"].items():
        for method, described in methods.items():
            yield path, method.upper(), described


def body_of(described: dict[str, Any]) -> str | None:
    """Name the schema of an operation's body."""
    return None if "requestBody" not in described else _media(described["requestBody"])["$ref"].rpartition("/")[2]


def answer_of(described: dict[str, Any], status: int) -> Any:
    """Give the schema of an operation's answer."""
    return _media(described["responses"].get(str(status), described["responses"]["default"]))


def validator(full: dict[str, Any], schema: Any) -> Draft202012Validator:
    """Give what tells whether something fits a schema of the document."""
    return Draft202012Validator({**schema, "components": full["components"]})


def wholes(value: Any) -> Any:
    """Write whole numbers as such: to JSON Schema 2.0 is one, too, to the dialect it is not."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**64:
        return int(value)
    if isinstance(value, dict):
        return {key: wholes(one) for key, one in value.items()}
    return [wholes(one) for one in value] if isinstance(value, list) else value


def _media(content: dict[str, Any]) -> Any:
    return content["content"]["application/json"]["schema"]


def _without_null_keys(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_null_keys(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    null = {"type": "null"}
    return {key: False if key == "additionalProperties" and one == null else _without_null_keys(one) for key, one in schema.items()}
