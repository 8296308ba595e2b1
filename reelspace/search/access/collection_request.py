"""What a client wants of whole collections in the Qdrant dialect: their vectors and shards, aliases, and indexed payload keys."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import ValidationError

from reelspace.search.access.json_fields import body_object, flag, list_of, name_of, object_of, payload_key, refuse_unknown, required, whole
from reelspace.search.access.refusal import RequestRefused, kind_of, not_served
from reelspace.search.access.requests import AliasAction, CreateAlias, CreateCollection, DeleteAlias, RenameAlias
from reelspace.search.storage.layout import IndexTarget, Metric, VectorSettings

MAX_SHARDS: Final = 64
MAX_VECTORS: Final = 64
MAX_DIMENSION: Final = 65_536
MAX_ACTIONS: Final = 256
DISTANCES: Final[dict[str, Metric]] = {"Cosine": "cosine", "Dot": "dot", "Euclid": "euclid"}
KINDS: Final = ("keyword", "integer", "float", "bool", "datetime", "uuid")
KeyKind = Literal["keyword", "integer", "float", "bool", "datetime", "uuid"]
_UNSERVED_KINDS: Final = ("geo", "text")
ONLY_ONE: Final = ("replication_factor", "write_consistency_factor")
# What tunes Qdrant's own engine: accepted where it changes nothing.
TUNING: Final = (
    *("on_disk_payload", "hnsw_config", "wal_config", "optimizers_config", "quantization_config", "strict_mode_config"),
    *("sparse_vectors", "sharding_method", "metadata", "payload", "id_tracker", "init_from"),
)
VECTOR_TUNING: Final = ("hnsw_config", "quantization_config", "on_disk", "memory", "datatype", "multivector_config")
KIND_TUNING: Final = ("is_tenant", "is_principal", "on_disk", "enable_hnsw", "memory")
_ALWAYS_TRUE: Final = ("lookup", "range")


def parse_create(value: Any) -> CreateCollection:
    """Check what a new collection shall be.

    Raises:
        RequestRefused: 400 naming the field, or 501 naming a setting of Qdrant's that would change something and is not served.
    """
    given = body_object(value, ("vectors", "shard_number", *ONLY_ONE, *TUNING))
    _refuse_tuning(given, TUNING, "")
    for name in ONLY_ONE:
        if whole(given.get(name, 1), name, 1, 2**31 - 1) != 1:
            raise not_served(name, f"{name} above 1")
    num_shards = whole(given.get("shard_number", 1), "shard_number", 1, MAX_SHARDS)
    return CreateCollection(_vectors(required(given, "vectors", "", "{size, distance}, or such by name")), num_shards)


def parse_alias_actions(value: Any) -> tuple[AliasAction, ...]:
    """Check actions on aliases, which take effect together."""
    actions = required(body_object(value, ("actions",)), "actions", "", "a list of actions")
    listed = list_of(actions, "actions", "actions", MAX_ACTIONS)
    return tuple(_action(one, f"actions[{number}].") for number, one in enumerate(listed))


def parse_field_index(value: Any) -> tuple[str, KeyKind]:
    """Check a payload key to index, and give it with the kind of its values."""
    given = body_object(value, ("field_name", "field_schema"))
    key = given.get("field_name")
    payload_key(key, "field_name")
    schema = given.get("field_schema")
    if schema is None:
        raise not_served("field_schema", "guessing field_schema")
    if isinstance(schema, dict):
        return str(key), _kind_with_params(object_of(schema, "field_schema"))
    return str(key), _kind(schema, "field_schema")


def _vectors(value: Any) -> dict[str, VectorSettings]:
    given = object_of(value, "vectors")
    if not given:
        raise not_served("vectors", "a collection without dense vectors")
    if any(not isinstance(one, dict) for one in given.values()):
        return {"": _vector(given, "vectors")}
    if len(given) > MAX_VECTORS:
        raise RequestRefused("vectors", f"expected at most {MAX_VECTORS} vectors, got {len(given)}")
    return {_vector_name(name): _vector(one, f"vectors.{name[:60]}") for name, one in given.items()}


def _vector_name(name: str) -> str:
    return name if name == "" else name_of(name, "vectors", 64)


def _vector(value: Any, where: str) -> VectorSettings:
    given = object_of(value, where)
    refuse_unknown(given, ("size", "distance", "index", *VECTOR_TUNING), f"{where}.")
    if given.get("datatype") == "float32":
        del given["datatype"]
    _refuse_tuning(given, VECTOR_TUNING, f"{where}.")
    size = whole(required(given, "size", f"{where}.", "the length of a vector"), f"{where}.size", 1, MAX_DIMENSION)
    distance = required(given, "distance", f"{where}.", f"one of {', '.join(DISTANCES)}")
    if distance == "Manhattan":
        raise not_served(f"{where}.distance", "the distance Manhattan")
    if not isinstance(distance, str) or distance not in DISTANCES:
        raise RequestRefused(f"{where}.distance", f"expected one of {', '.join(DISTANCES)}, got {distance!r:.40}")
    return VectorSettings(dimension=size, metric=DISTANCES[distance], index=_index_target(given.get("index"), f"{where}.index"))


def _index_target(value: Any, where: str) -> IndexTarget:
    """Check what the index of a vector must reach: an extension of ours."""
    given = object_of({} if value is None else value, where)
    refuse_unknown(given, tuple(IndexTarget.model_fields), f"{where}.")
    try:
        return IndexTarget.model_validate(given, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestRefused(f"{where}.{first['loc'][0]}", f"{first['msg']}, got {first['input']!r:.40}") from error


def _refuse_tuning(given: Mapping[str, Any], names: tuple[str, ...], place: str) -> None:
    for name in names:
        if name in given and given[name] is not False and given[name] != {}:  # 0 is not false
            raise not_served(f"{place}{name}")


def _action(value: Any, place: str) -> AliasAction:
    given = object_of(value, place.rstrip("."))
    refuse_unknown(given, ("create_alias", "delete_alias", "rename_alias"), place)
    if len(given) != 1:
        raise RequestRefused(place.rstrip("."), "expected one of create_alias, delete_alias and rename_alias")
    name, action = next(iter(given.items()))
    keys = {
        "create_alias": ("alias_name", "collection_name"),
        "delete_alias": ("alias_name",),
        "rename_alias": ("old_alias_name", "new_alias_name"),
    }[name]
    inside = f"{place}{name}."
    named = object_of(action, inside.rstrip("."))
    refuse_unknown(named, keys, inside)
    names = [name_of(required(named, key, inside, "a name"), f"{inside}{key}") for key in keys]
    if name == "create_alias":
        return CreateAlias(*names)
    return DeleteAlias(*names) if name == "delete_alias" else RenameAlias(*names)


def _kind(value: Any, where: str) -> KeyKind:
    if not isinstance(value, str):
        raise RequestRefused(where, f"expected one of {', '.join(KINDS)}, got {kind_of(value)}")
    if value in _UNSERVED_KINDS:
        raise not_served(where, f"an index of the kind {value}")
    for kind in KINDS:
        if value == kind:
            return kind
    raise RequestRefused(where, f"expected one of {', '.join(KINDS)}, got {value!r:.40}")


def _kind_with_params(given: dict[str, Any]) -> KeyKind:
    kind = _kind(required(given, "type", "field_schema.", f"one of {', '.join(KINDS)}"), "field_schema.type")
    refuse_unknown(given, ("type", *KIND_TUNING, *_ALWAYS_TRUE), "field_schema.")
    _refuse_tuning(given, KIND_TUNING, "field_schema.")
    for name in _ALWAYS_TRUE:
        if name in given:
            flag(given[name], f"field_schema.{name}")
    return kind
