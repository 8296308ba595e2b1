"""What clients want of whole collections over gRPC, in the JSON form that `collection_request` checks."""

from typing import Any, Final

from qdrant_client.grpc import collections_pb2

from reelspace.search.access.collection_request import KeyKind, parse_alias_actions, parse_create, parse_field_index
from reelspace.search.access.messages.set_fields import Read, as_is, chosen, only_weak, read_nothing, set_fields
from reelspace.search.access.requests import AliasAction, CreateCollection

KINDS: Final = ("keyword", "integer", "float", "geo", "text", "bool", "datetime", "uuid")
_INDEX_PARAMS: Final = "_index_params"


def create_of(message: Any) -> CreateCollection:
    """Check a `CreateCollection` message; RequestRefused as `parse_create`."""
    given = set_fields(message, _CREATE)
    renamed = {"vectors_config": "vectors", "sparse_vectors_config": "sparse_vectors"}
    return parse_create({renamed.get(name, name): value for name, value in given.items()})


def alias_actions_of(message: Any) -> tuple[AliasAction, ...]:
    """Check a `ChangeAliases` message; RequestRefused as `parse_alias_actions`."""
    return parse_alias_actions({"actions": []} | set_fields(message, {"timeout": read_nothing, "actions": _actions}))


def field_index_of(message: Any) -> tuple[str, KeyKind]:
    """Check a `CreateFieldIndexCollection` message; RequestRefused as `parse_field_index`."""
    given = set_fields(message, _INDEX)
    kind, params = given.pop("field_type", None), given.pop("field_index_params", None)
    if params is not None:
        given["field_schema"] = params
    elif kind is not None:
        given["field_schema"] = kind
    return parse_field_index(given)


def field_name_of(message: Any) -> str:
    """Check a `DeleteFieldIndexCollection` message and give the key."""
    given = set_fields(message, _SHARED_INDEX | {"field_name": as_is})
    name: str = given.get("field_name", "")
    return name


def _vectors(message: Any, where: str) -> dict[str, Any]:
    where = "vectors"
    if chosen(message, "config", where) == "params":
        return set_fields(message.params, _VECTOR, f"{where}.")
    return {name: set_fields(one, _VECTOR, f"{where}.{name[:60]}.") for name, one in message.params_map.map.items()}


def _distance(value: int, where: str) -> str | None:
    return _name_of(collections_pb2.Distance, value) if value else None


def _datatype(value: int, where: str) -> str | None:
    return _name_of(collections_pb2.Datatype, value).lower() if value else None


def _name_of(kind: Any, value: int) -> str:
    # Newer clients may know more values.
    name: str = kind.Name(value) if value in kind.values() else str(value)
    return name


def _tuning(message: Any, where: str) -> dict[str, Any]:
    """Give an object that is empty where nothing is set: what is set is refused, whatever it is."""
    return {field.name: True for field, _ in message.ListFields()}


def _actions(messages: Any, where: str) -> list[dict[str, Any]]:
    return [_action(one, f"{where}[{number}]") for number, one in enumerate(messages)]


def _action(message: Any, where: str) -> dict[str, Any]:
    name = chosen(message, "action", where)
    return {name: {field.name: value for field, value in getattr(message, name).ListFields()}}


def _kind(value: int, where: str) -> str:
    return KINDS[value] if value < len(KINDS) else str(value)


def _params(message: Any, where: str) -> dict[str, Any]:
    name = chosen(message, "index_params", where)
    params = getattr(message, name)
    given = {field.name: value if isinstance(value, bool) else str(value) for field, value in params.ListFields()}
    return {"type": name.removesuffix(_INDEX_PARAMS)} | given


_VECTOR: Final[dict[str, Read]] = {
    "size": as_is,
    "distance": _distance,
    "datatype": _datatype,
    "on_disk": as_is,
    "memory": as_is,
    **dict.fromkeys(("hnsw_config", "quantization_config", "multivector_config"), _tuning),
}
_CREATE: Final[dict[str, Read]] = {
    "collection_name": read_nothing,
    "timeout": read_nothing,
    "vectors_config": _vectors,
    **dict.fromkeys(("shard_number", "replication_factor", "write_consistency_factor", "on_disk_payload", "sharding_method"), as_is),
    **dict.fromkeys(("hnsw_config", "wal_config", "optimizers_config", "quantization_config", "strict_mode_config"), _tuning),
    **dict.fromkeys(("sparse_vectors_config", "payload", "id_tracker"), _tuning),
    "metadata": lambda values, where: dict.fromkeys(values, True),
}
_SHARED_INDEX: Final[dict[str, Read]] = dict.fromkeys(("collection_name", "wait", "timeout"), read_nothing) | {"ordering": only_weak}
_INDEX: Final[dict[str, Read]] = _SHARED_INDEX | {"field_name": as_is, "field_type": _kind, "field_index_params": _params}
