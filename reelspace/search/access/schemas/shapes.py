"""Pieces of JSON Schema (2020-12, as OpenAPI 3.1 has it), in the terms of `json_fields`: what a client may leave out may be null, too."""

from collections.abc import Collection, Mapping
from typing import Any, Final, TypeAlias

Schema: TypeAlias = dict[str, Any]
NULL: Final[Schema] = {"type": "null"}
FLAG: Final[Schema] = {"type": "boolean"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}


def ref(name: str) -> Schema:
    """Give a schema of the document by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(needed: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, **more: object) -> Schema:
    """Give an object that a client sends: keys it needs, keys that may be left out, and no others, except that null means left out."""
    may = {key: nullable(schema) for key, schema in (optional or {}).items()}
    return _object({**needed, **may}, needed, NULL) | more


def exact(needed: Mapping[str, Schema]) -> Schema:
    """Give an object of these keys and no others, not even null ones."""
    return _object(needed, needed, False)


def answer(given: Mapping[str, Schema], sometimes: Mapping[str, Schema] | None = None) -> Schema:
    """Give an object that the gateway answers: keys that are always there, and those that are there when they were asked for."""
    return _object({**given, **(sometimes or {})}, given, False)


def listed(items: Schema, most: int | None = None, least: int = 0) -> Schema:
    """Give a list of a size within bounds."""
    schema: Schema = {"type": "array", "items": items}
    if least:
        schema["minItems"] = least
    return schema if most is None else schema | {"maxItems": most}


def named(values: Schema, **more: object) -> Schema:
    """Give an object whose keys are names of the client's."""
    return {"type": "object", "additionalProperties": values} | more


def whole(least: int, most: int, **more: object) -> Schema:
    """Give a whole number within bounds."""
    return {"type": "integer", "minimum": least, "maximum": most} | more


def text(**more: object) -> Schema:
    """Give a text."""
    return {"type": "string"} | more


def chosen(values: Collection[str], **more: object) -> Schema:
    """Give one of some texts."""
    return {"type": "string", "enum": list(values)} | more


def one_of(*schemas: Schema, **more: object) -> Schema:
    """Give what fits any of some schemas."""
    return {"anyOf": list(schemas)} | more


def nullable(schema: Schema) -> Schema:
    """Give a schema that null fits, too."""
    return one_of(schema, NULL)


def _object(properties: Mapping[str, Schema], needed: Collection[str], others: object) -> Schema:
    schema: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": others}
    return schema | {"required": list(needed)} if needed else schema
