"""What each operation of the dialect takes and gives over HTTP, as OpenAPI 3.1 says it."""

from dataclasses import dataclass
from typing import Any, Final

from reelspace.search.access.http_request import IDEMPOTENCY_KEY, MAX_KEY_LENGTH, MAX_TIMEOUT_S, READ_TIMEOUT_S, WRITE_TIMEOUT_S
from reelspace.search.access.schemas import answer_schemas, collection_schemas, filter_schemas, point_schemas, query_schemas
from reelspace.search.access.schemas.answer_schemas import ALIASES, COUNTED, DONE, EXISTS, INDEXED, NAMES, enveloped
from reelspace.search.access.schemas.shapes import Schema, answer, chosen, listed, ref, text

COMPONENTS: Final[dict[str, Schema]] = {
    **filter_schemas.SCHEMAS,
    **point_schemas.SCHEMAS,
    **query_schemas.SCHEMAS,
    **collection_schemas.SCHEMAS,
    **answer_schemas.SCHEMAS,
}
"""What operations refer to by name."""
PARTS: Final = {"point": ref("PointId"), "key": ref("PayloadKey")}
"""What parts of addresses are, by name; any other is a text."""
REFUSED: Final[dict[int | str, dict[str, Any]]] = {
    "default": {
        "description": "Refused, or failed: the guide to vector search lists the statuses.",
        "content": {"application/json": {"schema": ref("Refusal")}},
    }
}


@dataclass(frozen=True, slots=True)
class Operation:
    """Schemas of a body and of a result, and the parameters of the address and the headers."""

    result: Schema
    body: Schema | None = None
    parameters: tuple[Schema, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """Give it as a part of an OpenAPI document."""
        document = _answered(enveloped(self.result))
        if self.parameters:
            document["parameters"] = list(self.parameters)
        if self.body is not None:
            document["requestBody"] = {"required": True, "content": {"application/json": {"schema": self.body}}}
        return document


def _answered(schema: Schema) -> dict[str, Any]:
    return {"responses": {"200": {"content": {"application/json": {"schema": schema}}}}}


def _parameter(name: str, schema: Schema, place: str = "query") -> Schema:
    return {"name": name, "in": place, "required": False, "schema": schema}


def _timeout(default_s: float) -> Schema:
    seconds = {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TIMEOUT_S, "default": default_s, "description": "Seconds."}
    return _parameter("timeout", seconds)


_READS: Final = (_timeout(READ_TIMEOUT_S),)
_CHANGES: Final = (_timeout(WRITE_TIMEOUT_S), _parameter("wait", chosen(("true", "false"))), _parameter("ordering", chosen(("weak",))))
_WRITES: Final = (*_CHANGES, _parameter(IDEMPOTENCY_KEY, text(minLength=1, maxLength=MAX_KEY_LENGTH, pattern="^[ -~]+$"), "header"))


def _read(result: Schema, body: str | None = None) -> Operation:
    return Operation(result, None if body is None else ref(body), _READS)


def _change(result: Schema, body: str | None = None) -> Operation:
    return Operation(result, None if body is None else ref(body), _CHANGES)


def _write(body: str, result: Schema | None = None) -> Operation:
    return Operation(result or ref("Written"), ref(body), _WRITES)


OPERATIONS: Final[dict[str, Operation]] = {
    "PointEndpoints.query": _read(ref("Hits"), "Query"),
    "PointEndpoints.query_batch": _read(listed(ref("Hits")), "Queries"),
    "PointEndpoints.query_groups": _read(ref("Groups"), "GroupsQuery"),
    "PointEndpoints.retrieve": _read(listed(ref("Record")), "Retrieve"),
    "PointEndpoints.retrieve_one": _read(ref("Record")),
    "PointEndpoints.scroll": _read(ref("Page"), "Scroll"),
    "PointEndpoints.count": _read(COUNTED, "Count"),
    "PointEndpoints.upsert": _write("Upsert"),
    "PointEndpoints.delete": _write("Delete"),
    "PointEndpoints.set_payload": _write("SetPayload"),
    "PointEndpoints.overwrite_payload": _write("OverwritePayload"),
    "PointEndpoints.delete_payload": _write("DeletePayload"),
    "PointEndpoints.clear_payload": _write("ClearPayload"),
    "PointEndpoints.update_batch": _write("Operations", listed(ref("Written"))),
    "CollectionEndpoints.list": Operation(NAMES),
    "CollectionEndpoints.aliases": Operation(ALIASES),
    "CollectionEndpoints.aliases_of": Operation(ALIASES),
    "CollectionEndpoints.exists": Operation(EXISTS),
    "CollectionEndpoints.describe": _read(ref("CollectionFacts")),
    "CollectionEndpoints.create": _change(DONE, "CreateCollection"),
    "CollectionEndpoints.delete": _change(DONE),
    "CollectionEndpoints.change_aliases": _change(DONE, "AliasActions"),
    "CollectionEndpoints.index_key": _change(INDEXED, "FieldIndex"),
    "CollectionEndpoints.drop_key": _change(INDEXED),
}
"""By the qualified names of handlers."""
VERSION: Final = _answered(answer({"title": text(), "version": text()}))
"""What the root says."""
